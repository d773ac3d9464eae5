"""Sums of products between the nodes of a group and a second vector per sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from torch import Tensor

from nodelens.statistics.rows import (
    add_fields,
    by_node,
    common_pivot,
    mean_about,
    resolved,
    varies,
    zeros,
)

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Layout, State


@frozen(eq=False)
class Sides:
    """Means, variances and the covariance ``(nodes, others)`` of two sides, float64.

    Each component of a node counts as a node there. `within`, ``(nodes, components, components)``,
    are the covariances between the components of one node, `other_within` of a node of the other
    side.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    other_mean: Tensor
    other_variance: Tensor
    covariance: Tensor
    within: Tensor
    other_within: Tensor


def floats_of_sides(layout: Layout, others: int, other_components: int = 1) -> int:
    """Return the number of values of a state of two sides, without pivots."""
    within = layout.width * layout.components * (layout.components > 1)
    within += others * other_components * (other_components > 1)
    return layout.folds * (layout.width * others + 2 * (layout.width + others) + 1 + within)


def start_sides(layout: Layout, others: int, other_components: int = 1) -> State:
    """Return empty sums; products within nodes only of nodes with several components."""
    state = {
        "count": zeros(layout),
        "s1": zeros(layout, layout.width),
        "s2": zeros(layout, layout.width),
        "t1": zeros(layout, others),
        "t2": zeros(layout, others),
        "st": zeros(layout, layout.width, others),
    }
    for name, width, each in (
        ("ss", layout.width, layout.components),
        ("tt", others, other_components),
    ):
        if each > 1:
            state[name] = zeros(layout, width // each, each, each)
    return state


def add_sides(state: State, d: Tensor, e: Tensor, counted: Tensor, fold: Tensor) -> None:
    """Add samples ``(rows, samples, nodes)`` and ``(rows, samples, others)``, fold by fold.

    Both are taken about their pivots; `counted`, ``(rows, samples)`` of bool, says which count.
    Products are taken in the precision of `d` and summed in float64.
    """
    for number in set(fold.tolist()):
        chosen = counted & (fold == number).unsqueeze(-1)
        left, right = d[chosen], e[chosen]
        state["count"][number] += len(left)
        state["st"][number] += left.mT @ right
        for name, side in (("s", left.double()), ("t", right.double())):
            state[f"{name}1"][number] += side.sum(0)
            state[f"{name}2"][number] += side.square().sum(0)
        for name, side in (("ss", left), ("tt", right)):
            if name in state:
                apart = by_node(side, state[name].shape[-1]).movedim(0, 1)
                state[name][number] += apart.mT @ apart


def merge_sides(state: State, other: State) -> None:
    """Add the state `other` into `state`, moved to its pivot.

    A pivot holds that of the nodes and, unless it is 0, that of the other side behind it.
    """
    if "pivot" not in other:
        return
    shift = common_pivot(state, other, "count")
    theirs = {name: value.to(shift.device) for name, value in other.items() if name != "pivot"}
    add_fields(state, theirs)
    n, s1, t1 = theirs["count"].unsqueeze(-1), theirs["s1"], theirs["t1"]
    width = s1.shape[-1]
    a, b = shift[:width], t1.new_zeros(t1.shape[-1])
    b[: len(shift) - width] = shift[width:]
    for name, first, by in (("ss", s1, a), ("tt", t1, b)):
        if name in state:
            state[name] += _moved_products(first, n, by, state[name].shape[-1])
    state["s2"] += 2 * a * s1 + n * a.square()
    state["t2"] += 2 * b * t1 + n * b.square()
    state["st"] += a.unsqueeze(-1) * t1.unsqueeze(-2) + (s1 + n * a).unsqueeze(-1) * b
    state["s1"] += n * a
    state["t1"] += n * b


def _moved_products(first: Tensor, n: Tensor, by: Tensor, components: int) -> Tensor:
    """Return what Σddᵀ of each node grows by when every d moves by a vector."""
    s, t, moved = (by_node(each, components) for each in (first, by, first + n * by))
    return s.unsqueeze(-1) * t.unsqueeze(-2) + t.unsqueeze(-1) * moved.unsqueeze(-2)


def sides_of(state: State, keep: Tensor) -> Sides:
    """Return the moments over the kept folds; second moments of constants are exactly 0."""
    count = state["count"][keep].sum().clamp(min=1.0)
    s1, s2, t1, t2, st = (
        state[name][keep].sum(0) / count for name in ("s1", "s2", "t1", "t2", "st")
    )
    pivot = state.get("pivot", s1 * 0)
    away = t1.new_zeros(t1.shape)
    away[: len(pivot) - len(s1)] = pivot[len(s1) :]
    mean, other_mean = mean_about(pivot[: len(s1)], s1), mean_about(away, t1)
    variance, other = resolved(s2 - s1.square(), s2), resolved(t2 - t1.square(), t2)
    variance = variance.where(varies(variance, mean), 0.0)
    other = other.where(varies(other, other_mean), 0.0)
    live = (variance > 0).unsqueeze(-1) & (other > 0)
    covariance = (st - s1.unsqueeze(-1) * t1).where(live, 0.0)
    within, other_within = (
        _within(state[name][keep].sum(0) / count if name in state else None, first, spread)
        for name, first, spread in (("ss", s1, variance), ("tt", t1, other))
    )
    return Sides(
        count,
        mean,
        variance,
        other_mean,
        other,
        covariance,
        within,
        other_within,
    )


def _within(products: Tensor | None, first: Tensor, variance: Tensor) -> Tensor:
    """Return the covariances between the components of each node, 0 of constant ones."""
    if products is None:
        return variance[:, None, None]
    mean, spread = (by_node(each, products.shape[-1]) for each in (first, variance))
    live = spread > 0
    found = products - mean.unsqueeze(-1) * mean.unsqueeze(-2)
    return found.where(live.unsqueeze(-1) & live.unsqueeze(-2), 0.0)
