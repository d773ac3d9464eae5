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
    """Means over rows of C_n = Σ_t (a − μ)g and of C_n², ``(nodes,)`` float64.

    Both are 0 for a node that is constant up to rounding.
    """

    rows: Tensor
    mean: Tensor
    mean_square: Tensor


@renamed_arguments(tap="reads")
@frozen
class CentredRowGradients:
    """Means over rows of C and C² with C = Σ_t (a − μ)g, μ the mean over all positions.

    μ is known at the end only, so that sums are taken about a pivot: with D = Σ_t (a − pivot)g and
    G = Σ_t g of a row, C = D − (μ − pivot)G.
    """

    reads: ReadPoint = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"gradient", "whole_rows"})

    def floats(self, layout: Layout) -> int:
        """Seven sums per node and fold, the pivot, two counts per fold."""
        return layout.folds * (len(_FIELDS) * layout.width + 2) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in _FIELDS}
        return {"rows": zeros(layout), "count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_rows, pivot_of, row_counts
        from nodelens.statistics.sums import centred_cut
        from nodelens.statistics.sweeps import swept

        assert reading.gradient is not None
        pivot, gradient, counts = pivot_of(state, reading), reading.gradient, row_counts(reading)

        def sums(cut: ReadingSlice) -> tuple[Tensor, ...]:
            a, g = centred_cut(reading, pivot, cut), gradient[cut].double()
            d, total = (a * g).sum(1), g.sum(1)
            squares = (d.square(), d * total, total.square())
            return (a.sum(1), a.square().sum(1), d, total, *squares)

        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        add_rows(state["count"], counts, reading.fold)
        for name, term in zip(_FIELDS, swept(reading, sums), strict=True):
            add_rows(state[name], term, reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot and add: D grows by the shift times G."""
        from nodelens.statistics.rows import add_fields, common_pivot

        if "pivot" not in other:
            return
        t = common_pivot(state, other, "count")
        moved = {name: value.to(t.device) for name, value in other.items() if name != "pivot"}
        add_fields(state, moved)
        count = moved["count"].unsqueeze(-1)
        state["s1"] += count * t
        state["square"] += 2 * t * moved["s1"] + count * t.square()
        state["d"] += t * moved["g"]
        state["d2"] += 2 * t * moved["dg"] + t.square() * moved["g2"]
        state["dg"] += t * moved["g2"]

    def summary(self, state: State, keep: Tensor) -> CentredRowSummary:
        """Return the means over rows of the kept folds."""
        from nodelens.statistics.rows import resolved

        rows, count = (state[name][keep].sum().clamp(min=1.0) for name in ("rows", "count"))
        total = {name: state[name][keep].sum(0) for name in _FIELDS}
        shift, square = total["s1"] / count, total["square"] / count
        d, g, d2, dg, g2 = (total[name] / rows for name in ("d", "g", "d2", "dg", "g2"))
        constant = resolved(square - shift.square(), square) == 0
        mean = (d - shift * g).masked_fill(constant, 0.0)
        mean_square = resolved(d2 - 2 * shift * dg + shift.square() * g2, d2)
        return CentredRowSummary(rows, mean, mean_square.masked_fill(constant, 0.0))
