"""Gradient statistics: what the loss says about each node, by position and by row.

With g = dL/da, L the loss *summed* over rows and positions, and q = a·g, the (negative) first-order
change of the loss when a node is set to zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State

_FIELDS = ("g", "g2", "q", "abs_q", "q2", "q4", "ag2")


@frozen(eq=False)
class GradientSummary:
    """Means over positions; every tensor is ``(nodes,)`` float64."""

    count: Tensor
    g: Tensor
    g2: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    q4: Tensor
    ag2: Tensor


@frozen
class GradientMoments:
    """Means over positions of g, g², q, |q|, q², q⁴ and a·g² (block B3)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Seven sums per node and fold, one count per fold."""
        return layout.folds * (len(_FIELDS) * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        return {"count": zeros(layout), **{name: zeros(layout, layout.width) for name in _FIELDS}}

    def update(self, state: State, reading: Reading) -> None:
        """Add the seven sums; padding has neither value nor gradient."""
        from nodelens.statistics.rows import add_rows, row_counts, row_sum, upcast

        assert reading.gradient is not None
        a, g = upcast(reading.values), upcast(reading.gradient)
        q, g2 = a * g, g.square()
        q2 = q.square()
        terms = (g, g2, q, q.abs(), q2, q2.square(), a * g2)
        add_rows(state["count"], row_counts(reading), reading.fold)
        for name, term in zip(_FIELDS, terms, strict=True):
            add_rows(state[name], row_sum(term), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> GradientSummary:
        """Return the means over the kept folds."""
        count = state["count"][keep].sum().clamp(min=1.0)
        return GradientSummary(count, *(state[name][keep].sum(0) / count for name in _FIELDS))


@frozen(eq=False)
class RowGradientSummary:
    """Means over rows of Q_n = Σ_t q and of its row mean; tensors are ``(nodes,)`` float64."""

    rows: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    q4: Tensor
    abs_mean_q: Tensor


@frozen
class RowGradients:
    """Means over rows of Q, |Q|, Q², Q⁴ and |mean_t q|, with Q_n = Σ_t q of row n (block B4)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        """Five sums per node and fold, one count per fold."""
        return layout.folds * (5 * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        names = ("q", "abs_q", "q2", "q4", "abs_mean_q")
        return {"rows": zeros(layout), **{name: zeros(layout, layout.width) for name in names}}

    def update(self, state: State, reading: Reading) -> None:
        """Add the row sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_rows, row_counts, row_sum, upcast

        assert reading.gradient is not None
        total = row_sum(upcast(reading.values) * upcast(reading.gradient))
        counts = row_counts(reading)
        square = total.square()
        mean = total.abs() / counts.clamp(min=1.0).unsqueeze(-1)
        terms = {
            "q": total,
            "abs_q": total.abs(),
            "q2": square,
            "q4": square.square(),
            "abs_mean_q": mean,
        }
        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        for name, term in terms.items():
            add_rows(state[name], term, reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> RowGradientSummary:
        """Return the means over rows of the kept folds."""
        rows = state["rows"][keep].sum().clamp(min=1.0)
        names = ("q", "abs_q", "q2", "q4", "abs_mean_q")
        return RowGradientSummary(rows, *(state[name][keep].sum(0) / rows for name in names))
