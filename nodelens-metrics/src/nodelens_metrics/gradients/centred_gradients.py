"""Statistic of row gradients at a gate between a node and its mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State
    from nodelens.statistics.sweeps import ReadingSlice

_FIELDS = ("s1", "square", "d", "g", "d2", "dg", "g2")


@frozen(eq=False)
class CentredRowSummary:
    """Means over rows of C_n = Σ_t (a − μ)·g and of C_n², ``(nodes,)`` float64.

    Both are 0 for a node that is constant up to rounding.
    """

    rows: Tensor
    mean: Tensor
    mean_square: Tensor


@renamed_arguments(tap="reads")
@frozen
class CentredRowGradients:
    """Means over rows of C and C² with C = Σ_t (a − μ)·g, μ the mean over all positions.

    μ is known at the end only, so that sums are taken about a pivot: with D = Σ_t (a − pivot)·g and
    G = Σ_t g of a row, C = D − (μ − pivot)·G. All products are over the components of a node, of
    which a matrix E[GGᵀ] is kept.
    """

    reads: ReadPoint = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"gradient", "whole_rows"})

    def floats(self, layout: Layout) -> int:
        """Seven sums per node and fold, the pivot, two counts per fold."""
        return layout.folds * (sum(_widths(layout).values()) + 2) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, width) for name, width in _widths(layout).items()}
        return {"rows": zeros(layout), "count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_rows, over_components, pivot_of, row_counts
        from nodelens.statistics.sums import centred_cut
        from nodelens.statistics.sweeps import swept

        assert reading.gradient is not None
        pivot, gradient, counts = pivot_of(state, reading), reading.gradient, row_counts(reading)
        components = reading.components

        def sums(cut: ReadingSlice) -> tuple[Tensor, ...]:
            a, g = centred_cut(reading, pivot, cut), gradient[cut].double()
            d, total = over_components((a * g).sum(1), components), g.sum(1)
            squares = (
                d.square(),
                _of_components(d, components) * total,
                _products(total, components),
            )
            return (a.sum(1), a.square().sum(1), d, total, *squares)

        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        add_rows(state["count"], counts, reading.fold)
        for name, term in zip(_FIELDS, swept(reading, sums), strict=True):
            add_rows(state[name], term, reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot and add: D grows by the shift times G."""
        from nodelens.statistics.gradients import applied, quadratic
        from nodelens.statistics.rows import add_fields, common_pivot, over_components

        if "pivot" not in other:
            return
        t = common_pivot(state, other, "count")
        moved = {name: value.to(t.device) for name, value in other.items() if name != "pivot"}
        add_fields(state, moved)
        count, components = moved["count"].unsqueeze(-1), _components(state)
        state["s1"] += count * t
        state["square"] += 2 * t * moved["s1"] + count * t.square()
        state["d"] += over_components(t * moved["g"], components)
        cross = over_components(2 * t * moved["dg"], components)
        state["d2"] += cross + quadratic(moved["g2"], t, components)
        state["dg"] += applied(moved["g2"], t, components)

    def summary(self, state: State, keep: Tensor) -> CentredRowSummary:
        """Return the means over rows of the kept folds."""
        from nodelens.statistics.gradients import quadratic
        from nodelens.statistics.rows import over_components, resolved

        rows, count = (state[name][keep].sum().clamp(min=1.0) for name in ("rows", "count"))
        total, components = {name: state[name][keep].sum(0) for name in _FIELDS}, _components(state)
        shift, square = total["s1"] / count, total["square"] / count
        d, g, d2, dg, g2 = (total[name] / rows for name in ("d", "g", "d2", "dg", "g2"))
        varies = resolved(square - shift.square(), square) > 0
        constant = ~varies.view(-1, components).any(1)
        mean = (d - over_components(shift * g, components)).masked_fill(constant, 0.0)
        cross = over_components(2 * shift * dg, components)
        mean_square = resolved(d2 - cross + quadratic(g2, shift, components), d2)
        return CentredRowSummary(rows, mean, mean_square.masked_fill(constant, 0.0))


def _widths(layout: Layout) -> dict[str, int]:
    """Return the width of every field."""
    width, nodes = layout.width, layout.nodes
    widths = (width, width, nodes, width, nodes, width, width * layout.components)
    return dict(zip(_FIELDS, widths, strict=True))


def _components(state: State) -> int:
    """Return the number of components of each node of a state."""
    return state["g"].shape[-1] // state["d"].shape[-1]


def _of_components(values: Tensor, components: int) -> Tensor:
    return values if components == 1 else values.repeat_interleave(components, -1)


def _products(values: Tensor, components: int) -> Tensor:
    """Return ggᵀ of the components of each node, ``(rows, nodes · components²)``."""
    if components == 1:
        return values.square()
    from nodelens.statistics.rows import by_node

    apart = by_node(values, components)
    return (apart.unsqueeze(-1) * apart.unsqueeze(-2)).flatten(1)
