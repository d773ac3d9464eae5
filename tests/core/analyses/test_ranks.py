import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from nodelens.analyses.ranks import (
    counted_once,
    equality_note,
    kendall,
    rank_correlations,
    rank_fractions,
    spearman,
)

SMALL = st.lists(st.integers(0, 5), min_size=3, max_size=12)


@given(st.data(), SMALL)
def test_correlations_are_scipys_with_ties(data, left):
    right = data.draw(st.lists(st.integers(0, 5), min_size=len(left), max_size=len(left)))
    a, b = np.array(left, dtype=float), np.array(right, dtype=float)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert spearman(a, b) is None
        assert kendall(a, b) is None
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        assert kendall(a, b) == pytest.approx(kendalltau(a, b).statistic, abs=1e-12)


def test_a_constant_does_not_even_correlate_with_itself():
    found = rank_correlations([np.ones(5), np.arange(5.0)])
    assert np.isnan(found[0]).all()
    assert found[1, 1] == pytest.approx(1.0)


def test_two_nodes_have_no_correlation():
    assert spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None


def test_equal_values_share_their_rank():
    assert rank_fractions(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [0.5, 0.125, 0.5, 0.875]


def test_metrics_of_equal_ranks_in_every_group_count_once(scores_of):
    up, mixed, flat = [1.0, 2.0, 4.0], [2.0, 1.0, 3.0], [0.0, 0.0, 0.0]
    scores = scores_of(
        {
            "a": {"g": up, "h": up},
            "cubed": {"g": [x**3 for x in up], "h": up},
            "falling": ({"g": [-x for x in up], "h": [-x for x in up]}, False),
            "elsewhere": {"g": up, "h": mixed},
            "one group": {"g": up},
            "raw": ({"g": up, "h": up}, None),
            "flat": {"g": flat, "h": flat},
            "zero": {"g": flat, "h": flat},
        }
    )
    kept, sets = counted_once(scores)
    assert sets == (("a", "cubed", "falling"),)
    assert kept.metrics == ("a", "elsewhere", "one group", "raw", "flat", "zero")
    assert equality_note(sets).endswith("in comparisons: a = cubed = falling.")
    assert equality_note(()) == ""
