import numpy as np
import pytest

from nodelens.interventions.ablation_order import random_order, removal_order, removed_count


@pytest.mark.parametrize(
    ("width", "fraction", "expected"),
    [
        (12, 0.5, 6),
        (10, 0.3, 3),
        (10, 0.7, 7),
        (3, 0.5, 2),
        (4, 0.1, 0),
        (5, 0.1, 1),
        (2, 0.9, 1),
        (1, 0.9, 0),
        (16, 0.99, 15),
    ],
)
def test_counts_are_rounded_half_up_and_leave_one_node(width, fraction, expected):
    assert removed_count(width, fraction) == expected


def test_the_least_important_node_comes_first():
    assert removal_order(np.array([0.3, 0.1, 0.2]), 0, "m").tolist() == [1, 2, 0]


def test_ties_are_broken_by_the_seed_and_not_by_position():
    constant = np.zeros(50)
    order = removal_order(constant, 0, "m")
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() != list(range(50))
    assert order.tolist() == removal_order(constant, 0, "m").tolist()
    assert order.tolist() != removal_order(constant, 1, "m").tolist()
    assert order.tolist() != removal_order(constant, 0, "other").tolist()


def test_every_node_is_first_of_a_tie_about_equally_often():
    first = [removal_order(np.zeros(4), seed, "m")[0] for seed in range(400)]
    assert np.bincount(first, minlength=4).min() > 60


def test_a_random_order_is_a_permutation_fixed_by_the_seed():
    assert sorted(random_order(9, 3, "a").tolist()) == list(range(9))
    assert random_order(9, 3, "a").tolist() == random_order(9, 3, "a").tolist()
