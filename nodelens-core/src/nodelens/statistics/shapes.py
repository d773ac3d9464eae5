"""The shape of a distribution: central moments up to the fourth order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State


@frozen(eq=False)
class ShapeSummary:
    """The shape of each node's distribution; every tensor is ``(nodes,)`` float64.

    `fourth` is E[(a−μ)⁴], 0 for a node that is constant up to the rounding of its fourth powers.
    """

    mean: Tensor
    variance: Tensor
    fourth: Tensor


@frozen
class ShapeMoments:
    """Central moments up to the fourth order (block B1, all orders)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Four sums per node and fold, the pivot, and one count per fold."""
        return layout.folds * (4 * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in ("s1", "s2", "s3", "s4")}
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums of d, d², d³ and d⁴, d = a − pivot."""
        from nodelens.statistics.rows import add_rows, centred, row_counts, row_sum

        d = centred(state, reading)
        square = d.square()
        add_rows(state["count"], row_counts(reading), reading.fold)
        for name, power in (("s1", d), ("s2", square), ("s3", square * d), ("s4", square * square)):
            add_rows(state[name], row_sum(power), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot by the binomial theorem and add."""
        if "pivot" not in other:
            return
        pivot = state.setdefault("pivot", other["pivot"].to(state["s1"].device))
        t = other["pivot"].to(pivot.device) - pivot
        names = ("count", "s1", "s2", "s3", "s4")
        n, s1, s2, s3, s4 = (other[name].to(pivot.device) for name in names)
        state["count"] += n
        n = n.unsqueeze(-1)
        state["s1"] += s1 + n * t
        state["s2"] += s2 + 2 * t * s1 + n * t**2
        state["s3"] += s3 + 3 * t * s2 + 3 * t**2 * s1 + n * t**3
        state["s4"] += s4 + 4 * t * s3 + 6 * t**2 * s2 + 4 * t**3 * s1 + n * t**4

    def summary(self, state: State, keep: Tensor) -> ShapeSummary:
        """Return central moments over the kept folds."""
        from nodelens.statistics.rows import mean_about, resolved

        count = state["count"][keep].sum().clamp(min=1.0)
        d1, d2, d3, d4 = (state[name][keep].sum(0) / count for name in ("s1", "s2", "s3", "s4"))
        fourth = d4 - 4 * d1 * d3 + 6 * d1**2 * d2 - 3 * d1**4
        pivot = state.get("pivot", d1 * 0)
        variance = resolved(d2 - d1.square(), d2)
        fourth = resolved(fourth, d4).masked_fill(variance == 0, 0.0)
        return ShapeSummary(mean_about(pivot, d1), variance, fourth)
