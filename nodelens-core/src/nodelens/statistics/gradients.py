"""Gradient statistics: what the loss says about each node, by position and by row.

With g = dL/da, L the loss *summed* over rows and positions, and q = a·g, the (negative) first-order
change of the loss when a node is set to zero. Products are taken in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State

_FIELDS = ("g", "g2", "q", "abs_q", "q2", "s1", "dg2", "d2g2")
_ROW_FIELDS = ("q", "abs_q", "q2", "abs_mean_q")


@frozen(eq=False)
class GradientSummary:
    """Means over positions; every tensor is ``(nodes,)`` float64.

    `centred_q2` is E[(a−μ)²g²] with μ the mean activation, 0 for a constant node.
    """

    count: Tensor
    g: Tensor
    g2: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    centred_q2: Tensor


@frozen
class GradientMoments:
    """Means over positions of g, g², q, |q|, q² and (a−μ)²g² (block B3).

    The last is kept as sums of d, d·g² and d²·g² with d = a − pivot: combining E[q²], E[a·g²] and
    E[g²] would cancel where the mean is large beside the spread.
    """

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Eight sums per node and fold, the pivot, one count per fold."""
        return layout.folds * (len(_FIELDS) * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        return {"count": zeros(layout), **{name: zeros(layout, layout.width) for name in _FIELDS}}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums; padding has neither value nor gradient."""
        from nodelens.statistics.rows import add_rows, centred, row_counts, row_sum

        assert reading.gradient is not None
        d, g = centred(state, reading), reading.gradient.double()
        q, g2 = reading.values.double() * g, g.square()
        dg2 = d * g2
        terms = (g, g2, q, q.abs(), q.square(), d, dg2, d * dg2)
        add_rows(state["count"], row_counts(reading), reading.fold)
        for name, term in zip(_FIELDS, terms, strict=True):
            add_rows(state[name], row_sum(term), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot and add."""
        from nodelens.statistics.rows import add_fields

        if "pivot" not in other:
            return
        device = state["count"].device
        moved = {name: value.to(device) for name, value in other.items()}
        theirs = moved.pop("pivot")
        t = theirs - state.setdefault("pivot", theirs)
        add_fields(state, moved)
        state["s1"] += moved["count"].unsqueeze(-1) * t
        state["dg2"] += moved["g2"] * t
        state["d2g2"] += 2 * t * moved["dg2"] + moved["g2"] * t.square()

    def summary(self, state: State, keep: Tensor) -> GradientSummary:
        """Return the means over the kept folds."""
        from nodelens.statistics.rows import resolved

        count = state["count"][keep].sum().clamp(min=1.0)
        means = (state[name][keep].sum(0) / count for name in _FIELDS)
        g, g2, q, abs_q, q2, d, dg2, d2g2 = means
        centred_q2 = resolved(d2g2 - 2 * d * dg2 + d.square() * g2, d2g2)
        return GradientSummary(count, g, g2, q, abs_q, q2, centred_q2)


@frozen(eq=False)
class RowGradientSummary:
    """Means over rows of Q_n = Σ_t q and of its row mean; tensors are ``(nodes,)`` float64."""

    rows: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    abs_mean_q: Tensor


@frozen
class RowGradients:
    """Means over rows of Q, |Q|, Q² and |mean_t q|, with Q_n = Σ_t q of row n (block B4)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = True
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        """Four sums per node and fold, one count per fold."""
        return layout.folds * (len(_ROW_FIELDS) * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in _ROW_FIELDS}
        return {"rows": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the row sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_rows, row_counts, row_sum

        assert reading.gradient is not None
        total = row_sum(reading.values.double() * reading.gradient.double())
        counts = row_counts(reading)
        mean = total.abs() / counts.clamp(min=1.0).unsqueeze(-1)
        terms = (total, total.abs(), total.square(), mean)
        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        for name, term in zip(_ROW_FIELDS, terms, strict=True):
            add_rows(state[name], term, reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> RowGradientSummary:
        """Return the means over rows of the kept folds."""
        rows = state["rows"][keep].sum().clamp(min=1.0)
        return RowGradientSummary(rows, *(state[name][keep].sum(0) / rows for name in _ROW_FIELDS))
