import numpy as np
import pytest

from nodelens.errors import CaptureError
from nodelens_pruning.selection import select


def test_the_least_important_nodes_go_and_the_rest_is_sorted():
    importances = {"g": np.array([0.5, 0.1, 0.9, 0.3])}
    assert select(importances, {"g": 2}, 0) == {"g": (0, 2)}


@pytest.mark.parametrize("values", [np.zeros(12), np.repeat([0.0, 1.0], 6), np.arange(12) // 5])
def test_six_of_twelve_go_whatever_the_ties(values):
    assert len(select({"g": values.astype(float)}, {"g": 6}, 0)["g"]) == 6


def test_ties_are_broken_by_the_seed_and_not_by_position():
    kept = {seed: select({"g": np.zeros(40)}, {"g": 20}, seed)["g"] for seed in range(3)}
    assert kept[0] == select({"g": np.zeros(40)}, {"g": 20}, 0)["g"]
    assert len(set(kept.values())) == 3
    assert kept[0] not in (tuple(range(20)), tuple(range(20, 40)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(CaptureError, match=r"g: the scores of nodes \[1\] are not finite"):
        select({"g": np.array([0.0, bad, 1.0])}, {"g": 1}, 0)
