import numpy as np
import pytest

from nodelens.scoring.scores import Score, Scores


@pytest.fixture
def scores_of():
    """Return scores from ``{metric: {group: values}}``; a metric may be ``(groups, better)``."""

    def build(metrics):
        scores = {}
        for metric, given in metrics.items():
            groups, better = given if isinstance(given, tuple) else (given, "high")
            for group, values in groups.items():
                values = np.asarray(values, dtype=np.float64)
                scores[metric, group] = Score(metric, group, values, better, "1")
        return Scores(scores)

    return build
