import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelens.errors import CaptureError
from nodelens_pruning.allocation import allocate, rounded, standardise

ALLOCATIONS = ("uniform", "global", "standardised")
WIDTHS = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def ramp(widths):
    return {f"g{at}": np.arange(width, dtype=float) for at, width in enumerate(widths)}


@given(WIDTHS, st.floats(0, 0.99), st.sampled_from(ALLOCATIONS), st.integers(1, 3))
def test_the_total_is_exact_unless_the_minimum_forbids_it(widths, sparsity, allocation, min_nodes):
    counts = allocate(ramp(widths), sparsity, allocation, min_nodes, 0)
    asked = int(np.floor(sparsity * sum(widths) + 0.5))
    kept = [width - counts[f"g{at}"] for at, width in enumerate(widths)]
    assert all(stays >= min(min_nodes, width) for stays, width in zip(kept, widths, strict=True))
    if allocation == "uniform":
        full = any(stays <= min_nodes for stays in kept)
    else:
        full = all(stays <= min_nodes for stays in kept)
    assert sum(counts.values()) == asked or (sum(counts.values()) < asked and full)


@given(WIDTHS, st.floats(0, 0.99))
def test_uniform_takes_the_share_of_every_group_within_one_node(widths, sparsity):
    counts = allocate(ramp(widths), sparsity, "uniform", 1, 0)
    for at, width in enumerate(widths):
        assert counts[f"g{at}"] <= width - 1
        assert -1 < counts[f"g{at}"] - sparsity * width < 1 or counts[f"g{at}"] == width - 1


def test_equal_remainders_are_given_in_a_random_order():
    first = {
        next(
            name
            for name, count in allocate(ramp([3, 3]), 0.5, "uniform", 1, seed).items()
            if count > 1
        )
        for seed in range(20)
    }
    assert first == {"g0", "g1"}


def test_global_takes_the_lowest_of_all_groups():
    importances = {"low": np.array([0.0, 0.1, 0.2, 5.0]), "high": np.array([1.0, 2.0, 3.0, 4.0])}
    assert allocate(importances, 0.5, "global", 1, 0) == {"low": 3, "high": 1}


def test_standardised_does_not_mind_the_scale_of_a_group():
    base = np.array([0.0, 1.0, 2.0, 7.0])
    importances = {"small": base, "large": 1e6 * base + 3}
    assert allocate(importances, 0.5, "standardised", 1, 0) == {"small": 2, "large": 2}
    assert allocate(importances, 0.5, "global", 1, 0) == {"small": 3, "large": 1}


def test_a_constant_group_has_the_z_score_zero():
    assert standardise(np.full(3, 0.1)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("width", "removed", "step", "expected"),
    [(48, 10, 8, 8), (48, 10, 1, 10), (48, 8, 8, 8), (48, 0, 7, 0), (5, 2, 8, 0), (10, 7, 4, 6)],
)
def test_more_nodes_stay_up_to_the_next_multiple(width, removed, step, expected):
    assert rounded({"a": removed}, {"a": width}, {"a": step}) == {"a": expected}


def test_the_minimum_stays_also_when_a_group_is_all_low():
    importances = {"low": np.zeros(4), "high": np.ones(4)}
    assert allocate(importances, 0.5, "global", 2, 0) == {"low": 2, "high": 2}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_scores_that_are_not_finite_are_refused(allocation):
    with pytest.raises(CaptureError, match="not finite"):
        allocate({"g": np.array([0.0, np.nan])}, 0.5, allocation, 1, 0)
