"""Gradient statistics: first-order changes of the loss by node, per position and per row.

With g = dL/da, L the loss *summed* over rows and positions, and q = a·g, the (negative) first-order
change of the loss when a node is set to zero; a node with several components (a head) has one q per
position, the sum over its components. Products are taken in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import frozen

from nodelens.interfaces.statistic import RowSums
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State
    from nodelens.statistics.sweeps import ReadingSlice

Labels = Literal["data", "model"]
"""The labels of the loss: those of the data, or drawn from the model's predictions."""

_FIELDS = ("g", "g2", "q", "abs_q", "q2", "q4", "s1", "dg", "dg_g", "gg")
_ROW_FIELDS = ("q", "abs_q", "q2", "q4", "abs_mean_q")


@frozen(eq=False)
class GradientSummary:
    """Means over positions; every tensor is ``(nodes,)`` float64.

    `centred_q2` is E[(Σ(a−μ)g)²] with μ the mean activation and the sum over a node's components, 0
    for a constant node. `count` is the number of positions that have a q.
    """

    count: Tensor
    g: Tensor
    g2: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    q4: Tensor
    centred_q2: Tensor


@renamed_arguments(tap="reads")
@frozen
class GradientMoments:
    """Means over positions of g, g², q, |q|, q², q⁴ and ((a−μ)g)² (block B3).

    The last is kept as sums of d, (dg)², (dg)g and g² with d = a − pivot: combining E[q²], E[a·g²]
    and E[g²] would cancel where the mean is large beside the spread.

    Attributes:
        reads: the read point.
        labels: the labels of the loss.
    """

    reads: ReadPoint = "activation"
    labels: Labels = "data"
    additive: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[Need]:
        return gradient_of(self.labels)

    def floats(self, layout: Layout) -> int:
        return layout.folds * (len(_FIELDS) * layout.width + 2) + layout.width

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in _FIELDS}
        return {"count": zeros(layout), "gates": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums; padding has neither value nor gradient."""
        from nodelens.statistics.rows import add_terms, pivot_of, row_counts
        from nodelens.statistics.sweeps import swept

        pivot, counts = pivot_of(state, reading), row_counts(reading)
        sums = swept(reading, lambda cut: _terms(reading, pivot, cut))
        reading.shared["gates"] = (sums[2],)
        terms = {"count": counts, "gates": counts / reading.parts}
        add_terms(state, reading, terms | dict(zip(_FIELDS, sums, strict=True)))

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields, common_pivot

        if "pivot" not in other:
            return
        t = common_pivot(state, other, "count")
        moved = {name: value.to(t.device) for name, value in other.items() if name != "pivot"}
        add_fields(state, moved)
        state["s1"] += moved["count"].unsqueeze(-1) * t
        state["dg_g"] += moved["gg"] * t
        state["dg"] += 2 * t * moved["dg_g"] + moved["gg"] * t.square()

    def summary(self, state: State, keep: Tensor) -> GradientSummary:
        from nodelens.statistics.rows import resolved

        count, gates = (state[name][keep].sum().clamp(min=1.0) for name in ("count", "gates"))
        total = {name: state[name][keep].sum(0) for name in _FIELDS}
        per_gate = ("q", "abs_q", "q2", "q4", "dg", "dg_g", "gg")
        q, abs_q, q2, q4, dg, dg_g, gg = (total[name] / gates for name in per_gate)
        d = total["s1"] / count
        centred_q2 = resolved(dg - 2 * d * dg_g + d.square() * gg, dg)
        g, g2 = total["g"] / count, total["g2"] / count
        return GradientSummary(gates, g, g2, q, abs_q, q2, q4, centred_q2)


def gradient_of(labels: Labels) -> frozenset[Need]:
    """Return the requirement of gradients of the loss with these labels."""
    return frozenset({"gradient" if labels == "data" else "sampled_gradient"})


def _terms(reading: Reading, pivot: Tensor, cut: ReadingSlice) -> tuple[Tensor, ...]:
    """Return the row sums of `_FIELDS`, in their order."""
    from nodelens.statistics.rows import summed_parts
    from nodelens.statistics.sums import centred_cut, copied, gates

    assert reading.gradient is not None
    parts, g = reading.parts, copied(reading.gradient[cut])
    d, q = centred_cut(reading, pivot, cut), gates(reading, cut)
    first, total, gate = d.sum(1), g.sum(1), summed_parts(g, parts)
    dg = summed_parts(d.mul_(g), parts)
    cross, dg2 = (dg * gate).sum(1), dg.square_().sum(1)
    gg = gate.square().sum(1) if parts > 1 else None
    g2 = g.square_().sum(1)
    gates_sum, magnitude = q.sum(1), q.abs().sum(1)
    q2, q4 = q.square_().sum(1), q.square_().sum(1)
    return total, g2, gates_sum, magnitude, q2, q4, first, dg2, cross, g2 if gg is None else gg


@frozen(eq=False)
class RowGradientSummary:
    """Means over rows of Q_n = Σ_t q and of its row mean; tensors are ``(nodes,)`` float64."""

    rows: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    q4: Tensor
    abs_mean_q: Tensor


@renamed_arguments(tap="reads")
@frozen
class RowGradients:
    """Means over rows of Q, |Q|, Q², Q⁴ and |mean_t q|, with Q_n = Σ_t q of row n (block B4).

    Attributes:
        reads: the read point.
        labels: the labels of the loss.
    """

    reads: ReadPoint = "activation"
    labels: Labels = "data"
    row_sums: ClassVar[RowSums] = RowSums(gates=True)
    additive: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[Need]:
        return gradient_of(self.labels) | {"whole_rows"}

    def floats(self, layout: Layout) -> int:
        return layout.folds * (len(_ROW_FIELDS) * layout.width + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in _ROW_FIELDS}
        return {"rows": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the row sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_terms, row_counts
        from nodelens.statistics.sums import gate_sums

        total = gate_sums(reading)
        counts = row_counts(reading)
        samples = (counts / reading.parts).clamp(min=1.0).unsqueeze(-1)
        square = total.square()
        terms = (total, total.abs(), square, square.square(), total.abs() / samples)
        named = dict(zip(_ROW_FIELDS, terms, strict=True))
        add_terms(state, reading, {"rows": (counts > 0).double(), **named})

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> RowGradientSummary:
        rows = state["rows"][keep].sum().clamp(min=1.0)
        return RowGradientSummary(rows, *(state[name][keep].sum(0) / rows for name in _ROW_FIELDS))
