import numpy as np
import pytest
from attrs import evolve

from nodelens.scoring.scores import Score, Scores
from nodelens.testing.pruner_checks import example_request


@pytest.fixture
def request_with():
    """Return a request on groups of 12 and 7 prunable nodes from ``{metric: {group: values}}``."""

    def build(metrics, *, high=True, seed=0, skipped=None, failed=None):
        scores = {
            (metric, group): Score(metric, group, np.asarray(values, dtype=float), high, "1")
            for metric, groups in metrics.items()
            for group, values in groups.items()
        }
        found = Scores(scores, skipped or {}, failed or {})
        return evolve(example_request((), seed), scores=found)

    return build
