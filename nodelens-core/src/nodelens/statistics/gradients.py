"""Gradient statistics: first-order changes of the loss by node, per position and per row.

With g = dL/da, L the loss *summed* over rows and positions, and q = a·g, the (negative) first-order
change of the loss when a node is set to zero; a node of several components (a head) has one q per
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

_COMPONENT_FIELDS, _NODE_FIELDS = ("g", "g2"), ("q", "abs_q", "q2", "q4")
_CENTRED_FIELDS = ("s1", "dg", "dg_g", "gg")
_ROW_FIELDS = ("q", "abs_q", "q2", "q4", "abs_mean_q")


@frozen(eq=False)
class GradientSummary:
    """Means over positions, float64; `g` and `g2` are by component, all others ``(nodes,)``.

    `centred_q2` is E[(Σ(a−μ)g)²] with μ the mean of each component and the sum over a node's
    components, 0 for a constant node; None unless the statistic is centred. `count` is the number
    of positions.
    """

    count: Tensor
    g: Tensor
    g2: Tensor
    q: Tensor
    abs_q: Tensor
    q2: Tensor
    q4: Tensor
    centred_q2: Tensor | None = None


@renamed_arguments(tap="reads")
@frozen
class GradientMoments:
    """Means over positions of g, g², q, |q|, q², q⁴ and (Σ(a−μ)g)² (block B3).

    The last is kept as sums of d, (Σdg)², (Σdg)g and ggᵀ with d = a − pivot: combining E[q²],
    E[a·g²] and E[g²] would cancel where the mean is large beside the spread. Of a node of several
    components ggᵀ is a matrix.

    Attributes:
        reads: the read point.
        labels: the labels of the loss.
        centred: keep the sums of (Σ(a−μ)g)² as well.
    """

    reads: ReadPoint = "activation"
    labels: Labels = "data"
    centred: bool = True
    additive: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[Need]:
        return gradient_of(self.labels)

    def covers(self, other: object) -> bool:
        return (
            isinstance(other, GradientMoments)
            and (other.reads, other.labels) == (self.reads, self.labels)
            and other.centred <= self.centred
        )

    def floats(self, layout: Layout) -> int:
        widths = self._widths(layout).values()
        return layout.folds * (sum(widths) + 1) + layout.width * self.centred

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, width) for name, width in self._widths(layout).items()}
        return {"count": zeros(layout), **fields}

    def _widths(self, layout: Layout) -> dict[str, int]:
        """Return the width of every field but the count."""
        found = dict.fromkeys(_COMPONENT_FIELDS, layout.width)
        found |= dict.fromkeys(_NODE_FIELDS, layout.nodes)
        if self.centred:
            sizes = (layout.width, layout.nodes, layout.width, layout.width * layout.components)
            found |= dict(zip(_CENTRED_FIELDS, sizes, strict=True))
        return found

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums; padding has neither value nor gradient."""
        from nodelens.statistics.rows import add_terms, pivot_of, row_counts
        from nodelens.statistics.sweeps import swept

        pivot = pivot_of(state, reading) if self.centred else None
        sums = swept(reading, lambda cut: _terms(reading, pivot, cut))
        reading.shared["gates"] = (sums[2],)
        names = _COMPONENT_FIELDS + _NODE_FIELDS + (_CENTRED_FIELDS if self.centred else ())
        terms = {"count": row_counts(reading), **dict(zip(names, sums, strict=False))}
        add_terms(state, reading, terms)
        if self.centred and reading.components > 1:
            _add_squares(state["gg"], reading)

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields, common_pivot, over_components

        if not self.centred:
            return add_fields(state, other)
        if "pivot" not in other:
            return None
        t = common_pivot(state, other, "count")
        moved = {name: value.to(t.device) for name, value in other.items() if name != "pivot"}
        add_fields(state, moved)
        components = _components(state)
        state["s1"] += moved["count"].unsqueeze(-1) * t
        state["dg_g"] += applied(moved["gg"], t, components)
        cross = over_components(2 * t * moved["dg_g"], components)
        state["dg"] += cross + quadratic(moved["gg"], t, components)
        return None

    def summary(self, state: State, keep: Tensor) -> GradientSummary:
        count = state["count"][keep].sum().clamp(min=1.0)
        total = {name: value[keep].sum(0) for name, value in state.items() if name != "pivot"}
        g, g2, q, abs_q, q2, q4 = (total[name] / count for name in _COMPONENT_FIELDS + _NODE_FIELDS)
        centred = _centred(total, count, _components(state)) if self.centred else None
        return GradientSummary(count, g, g2, q, abs_q, q2, q4, centred)


def _centred(total: State, count: Tensor, components: int) -> Tensor:
    """Return E[(Σ(a−μ)g)²] from the sums, ``(nodes,)``."""
    from nodelens.statistics.rows import over_components, resolved

    d, dg, dg_g, gg = (total[name] / count for name in _CENTRED_FIELDS)
    centred = dg - over_components(2 * d * dg_g, components) + quadratic(gg, d, components)
    return resolved(centred, dg)


def _components(state: State) -> int:
    """Return the number of components of each node of a state."""
    return state["g"].shape[-1] // state["q"].shape[-1]


def applied(squares: Tensor, vector: Tensor, components: int) -> Tensor:
    """Return Gv of each node's matrix G = Σggᵀ and vector v, by component."""
    if components == 1:
        return squares * vector
    matrices = squares.view(-1, components, components)
    return (matrices @ vector.view(-1, components, 1)).view(*squares.shape[:-1], -1)


def quadratic(squares: Tensor, vector: Tensor, components: int) -> Tensor:
    """Return vᵀGv of each node, ``(…, nodes)``."""
    from nodelens.statistics.rows import over_components

    if components == 1:
        return squares * vector.square()
    return over_components(applied(squares, vector, components) * vector, components)


def _add_squares(total: Tensor, reading: Reading) -> None:
    """Add Σggᵀ of each node's gradient to every fold, ``(folds, nodes · components²)``."""
    from nodelens.statistics.rows import by_node, upcast
    from nodelens.statistics.sweeps import row_slices

    assert reading.gradient is not None
    members = reading.members(len(total))
    for rows in row_slices(reading):
        gradient = upcast(reading.gradient[rows]).double()
        g = by_node(gradient, reading.components).movedim(-2, 0)
        for fold in members[:, rows].any(1).nonzero().flatten().tolist():
            weighted = g * members[fold, rows, None, None]
            product = weighted.flatten(1, 2).mT @ g.flatten(1, 2)
            total[fold] += product.flatten()


def gradient_of(labels: Labels) -> frozenset[Need]:
    """Return the requirement of gradients of the loss with these labels."""
    return frozenset({"gradient" if labels == "data" else "sampled_gradient"})


def _terms(reading: Reading, pivot: Tensor | None, cut: ReadingSlice) -> tuple[Tensor, ...]:
    """Return the row sums of the fields in their order, the centred ones where there is a pivot.

    The products ggᵀ of nodes of several components are left out.
    """
    from nodelens.statistics.rows import over_components
    from nodelens.statistics.sums import centred_cut, copied, gates

    assert reading.gradient is not None
    components, g = reading.components, copied(reading.gradient[cut])
    q, total = gates(reading, cut), g.sum(1)
    centred: tuple[Tensor, ...] = ()
    if pivot is not None:
        d = centred_cut(reading, pivot, cut)
        first, dg = d.sum(1), over_components(d.mul_(g), components)
        of_node = dg if components == 1 else dg.repeat_interleave(components, -1)
        cross = (of_node * g).sum(1)
        centred = (first, dg.square_().sum(1), cross)
    g2 = g.square_().sum(1)
    gates_sum, magnitude = q.sum(1), q.abs().sum(1)
    q2, q4 = q.square_().sum(1), q.square_().sum(1)
    found = (total, g2, gates_sum, magnitude, q2, q4, *centred)
    return (*found, g2) if centred and components == 1 else found


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
        return layout.folds * (len(_ROW_FIELDS) * layout.nodes + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.nodes) for name in _ROW_FIELDS}
        return {"rows": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the row sums; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_terms, row_counts
        from nodelens.statistics.sums import gate_sums

        total = gate_sums(reading)
        counts = row_counts(reading)
        samples = counts.clamp(min=1.0).unsqueeze(-1)
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
