import numpy as np
import pytest

from nodelens.scoring.scores import Score, Scores


@pytest.fixture
def scores_of():
    """Return scores from ``{metric: {group: values}}``; a metric may be ``(groups, high)``."""

    def build(metrics):
        scores = {}
        for metric, given in metrics.items():
            groups, high = given if isinstance(given, tuple) else (given, True)
            for group, values in groups.items():
                values = np.asarray(values, dtype=np.float64)
                scores[metric, group] = Score(metric, group, values, high, "1")
        return Scores(scores)

    return build
