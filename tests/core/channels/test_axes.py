from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodelens.channels.axes import Solver
from nodelens.channels.expressions import Concatenation, Product, Variable, product
from nodelens.channels.groups import Extent


def sizes(solver: Solver, axis) -> list[int]:
    return [leaf.variable.size for leaf in solver.leaves(axis)]


def test_two_variables_become_one():
    solver = Solver()
    a, b = solver.fresh(6), solver.fresh(6)
    solver.unify(a, b)
    assert solver.resolve(a) is solver.resolve(b)


def test_a_variable_that_meets_a_product_is_refined_everywhere():
    solver = Solver()
    flat = solver.fresh(12)
    heads, dim = solver.fresh(3), solver.fresh(4)
    solver.unify(flat, Product((heads, dim)))
    assert [leaf.extent for leaf in solver.leaves(flat)] == [
        Extent(width=3, inner=4),
        Extent(width=4, outer=3),
    ]


def test_products_of_different_grouping_split_into_common_factors():
    solver = Solver()
    a, b = solver.fresh(12), solver.fresh(2)
    c, d = solver.fresh(3), solver.fresh(8)
    solver.unify(Product((a, b)), Product((c, d)))
    assert sizes(solver, Product((a, b))) == [3, 4, 2]


def test_products_without_common_factors_are_frozen():
    solver = Solver()
    a, b = Product((solver.fresh(4), solver.fresh(9))), Product((solver.fresh(6), solver.fresh(6)))
    solver.unify(a, b)
    assert {leaf.variable.frozen for leaf in solver.leaves(a)} == {
        "axes that do not divide into common factors meet"
    }


def test_axes_of_different_sizes_are_frozen():
    solver = Solver()
    a, b = solver.fresh(4), solver.fresh(6)
    solver.unify(a, b)
    assert a.frozen == b.frozen == "axes that do not divide into common factors meet"
    assert a.bound is b.bound is None


def test_long_chains_of_unification_do_not_exhaust_the_stack():
    solver = Solver()
    chain = [solver.fresh(4) for _ in range(3000)]
    for left, right in pairwise(chain):
        left.bound = right
    assert solver.resolve(chain[0]) is chain[-1]
    assert chain[0].bound is chain[-1]


def test_segments_in_another_order_are_recognised():
    solver = Solver()
    a, b = solver.fresh(3), solver.fresh(3)
    assert solver.swapped(Concatenation((a, b)), Concatenation((b, a)))
    assert not solver.swapped(Concatenation((a, b)), Concatenation((a, b)))


def test_concatenations_of_different_cuts_are_cut_at_every_border():
    solver = Solver()
    left = Concatenation((solver.fresh(2), solver.fresh(5)))
    right = Concatenation((solver.fresh(4), solver.fresh(3)))
    solver.unify(left, right)
    assert sizes(solver, left) == sizes(solver, right) == [2, 2, 3]


def test_a_cut_variable_becomes_a_concatenation():
    solver = Solver()
    axis = solver.fresh(10)
    front, back = solver.split(axis, 3)
    assert [leaf.extent for leaf in solver.leaves(axis)] == [Extent(3), Extent(7, offset=3)]
    assert solver.resolve(front).size == 3
    assert solver.resolve(back).size == 7


def test_a_cut_inside_a_block_freezes_with_the_reason():
    solver = Solver()
    axis = Product((solver.fresh(3), solver.fresh(4)))
    solver.split(axis, 6)
    reasons = {leaf.variable.frozen for leaf in solver.leaves(axis)}
    assert reasons == {"split after 6 of 12 indices, inside a block"}


def test_a_cut_between_blocks_of_a_product_cuts_its_first_factor():
    solver = Solver()
    heads, dim = solver.fresh(5), solver.fresh(4)
    front, back = solver.split(Product((heads, dim)), 8)
    assert sizes(solver, front) == [2, 4]
    assert sizes(solver, back) == [3, 4]


def test_a_concatenation_in_front_of_a_product_is_distributed():
    solver = Solver()
    a, b, inner = solver.fresh(2), solver.fresh(3), solver.fresh(4)
    flat = solver.resolve(product([Concatenation((a, b)), inner]))
    assert isinstance(flat, Concatenation)
    assert [leaf.extent for leaf in solver.leaves(flat) if leaf.variable is inner] == [
        Extent(4, offset=0, inner=1, outer=2),
        Extent(4, offset=8, inner=1, outer=3),
    ]


def test_segments_that_repeat_per_head_keep_their_period():
    """Query, key and value interleaved per head, as in GPT-NeoX."""
    solver = Solver()
    heads = solver.fresh(2)
    q, k, v = (solver.fresh(3) for _ in range(3))
    extents = [leaf.extent for leaf in solver.leaves(Product((heads, Concatenation((q, k, v)))))]
    assert extents[2] == Extent(3, offset=3, inner=1, outer=2, period=9)
    assert extents[2].indices() == [[3, 12], [4, 13], [5, 14]]


def test_frozen_spreads_through_unification():
    solver = Solver()
    a, b = solver.fresh(6, "model output"), solver.fresh(6)
    solver.unify(a, b)
    resolved = solver.resolve(b)
    assert isinstance(resolved, Variable)
    assert resolved.frozen == "model output"


def test_an_axis_cannot_contain_itself():
    solver = Solver()
    a = solver.fresh(6)
    inside = solver.fresh(3)
    solver.unify(a, Product((solver.fresh(2), inside)))
    wider = Variable(6, 99)
    solver.unify(wider, a)
    assert solver.resolve(wider) == solver.resolve(a) or sizes(solver, wider) == sizes(solver, a)


@st.composite
def trees(draw, depth=2):
    solver = Solver()

    def build(level):
        kind = draw(st.sampled_from(["leaf", "product", "cat"])) if level else "leaf"
        if kind == "leaf":
            return solver.fresh(draw(st.integers(2, 4)))
        parts = [build(level - 1) for _ in range(draw(st.integers(2, 3)))]
        return product(parts) if kind == "product" else Concatenation(tuple(parts))

    return solver, build(depth)


@settings(deadline=None)
@given(trees())
def test_leaf_extents_cover_what_a_brute_force_index_walk_finds(case):
    solver, tree = case

    def walk(axis) -> list[frozenset]:
        """Every index of the axis as the set of (variable, node) that it belongs to."""
        if isinstance(axis, Variable):
            return [frozenset({(axis.number, j)}) for j in range(axis.size)]
        if isinstance(axis, Concatenation):
            return [index for part in axis.parts for index in walk(part)]
        result = [frozenset()]
        for factor in axis.factors:
            result = [left | right for left in result for right in walk(factor)]
        return result

    resolved = solver.resolve(tree)
    truth = walk(resolved)
    for leaf in solver.leaves(resolved):
        if leaf.variable.frozen:
            continue
        for node, indices in enumerate(leaf.extent.indices()):
            assert all((leaf.variable.number, node) in truth[index] for index in indices)
    assert resolved.size == len(truth) == tree.size


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        (Extent(3), [[0], [1], [2]]),
        (Extent(2, inner=3), [[0, 1, 2], [3, 4, 5]]),
        (Extent(2, offset=1, outer=2, period=5), [[1, 6], [2, 7]]),
    ],
)
def test_extent_indices_and_views_agree(extent, expected):
    import torch

    assert extent.indices() == expected
    axis = torch.arange(12.0)
    assert extent.nodes_first(axis, 0).tolist() == [[float(i) for i in row] for row in expected]
    table = torch.arange(24.0).view(2, 12)
    columns = extent.nodes_last(table, 1)
    assert columns.shape == (2, extent.outer, extent.inner, extent.width)
    assert columns[1].flatten(0, 1).T.tolist() == [[12.0 + i for i in row] for row in expected]


def test_a_repetition_that_meets_its_own_segments_is_cut_inside():
    solver = Solver()
    a, b, rows, inner = solver.fresh(3), solver.fresh(3), solver.fresh(2), solver.fresh(6)
    solver.unify(Concatenation((a, b, a, b)), Product((rows, inner)))
    assert [leaf.variable for leaf in solver.leaves(inner)] == [
        leaf.variable for leaf in solver.leaves(Concatenation((a, b)))
    ]
    assert a.frozen is None
    assert b.frozen is None
