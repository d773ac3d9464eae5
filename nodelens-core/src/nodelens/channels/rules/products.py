"""Rules for products of matrices, attention, and bilinear forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from nodelens.channels.expressions import Expression, product
from nodelens.channels.rules.operation import Operation, Rule, unknown
from nodelens.channels.trace import Axes


def matmul(op: Operation) -> Sequence[Axes]:
    """``(…, n, k) @ (…, k, m)``: contract k, unify leading axes; one side may be a weight."""
    left, right = op.args[:2]
    a, b = op.axes(left), op.axes(right)
    op.contracts(left, right, read=(b[-2],), written=(b[-1],))
    op.contracts(right, left, read=(a[-1],), written=(a[-2],))
    op.unify(a[-1], b[-2])
    for x, y in zip(a[:-2], b[:-2], strict=True):
        op.unify(x, y)
    op.sums(left, right, [a[-1]])
    weights = op.is_weight(left) or op.is_weight(right)
    if left.ndim > 2 and op.trace.is_data(left) and op.trace.is_data(right) and not weights:
        _label(op, a[:-2], "heads")
        _label(op, (a[-1],), "head_dim")
        _label(op, (b[-1],), "value_dim")
    return [(*a[:-1], b[-1])]


def _label(op: Operation, axes: Iterable[Expression], part: str) -> None:
    """Note which part of attention the axes are, for the names of their groups."""
    for axis in axes:
        for leaf in op.trace.solver.leaves(axis):
            leaf.variable.attention = leaf.variable.attention or (part, op.trace.module)


def addmm(op: Operation) -> Sequence[Axes]:
    """``bias + a @ b``: a product, and a bias that follows what is written."""
    (axes,) = matmul(_without_bias(op))
    return _biased(op, axes)


def vector(op: Operation) -> Sequence[Axes]:
    """``matrix @ vector`` or ``vector · vector``: contract the last axis."""
    left, right = op.args[:2]
    a, b = op.axes(left), op.axes(right)
    op.contracts(left, right, read=(b[-1],), written=())
    op.contracts(right, left, read=(a[-1],), written=a[:-1])
    op.unify(a[-1], b[-1])
    op.sums(left, right, [a[-1]])
    return [a[:-1]]


def addmv(op: Operation) -> Sequence[Axes]:
    """``bias + matrix @ vector``."""
    (axes,) = vector(_without_bias(op))
    return _biased(op, axes)


def _without_bias(op: Operation) -> Operation:
    return Operation(op.trace, op.function, op.args[1:3], {}, op.outputs)


def _biased(op: Operation, axes: Axes) -> Sequence[Axes]:
    for position, axis in enumerate(reversed(op.axes(op.args[0])), start=1):
        op.unify(axis, axes[-position])
    return [axes]


def attention(op: Operation) -> Sequence[Axes]:
    """Fused attention on ``(batch, heads, positions, head_dim)``: queries meet keys, values leave.

    Where queries have more heads than keys, each head of keys serves as many heads of queries that
    follow each other. A mask or bias with heads of its own follows the heads.
    """
    q, k, v = (op.axes(tensor) for tensor in op.args[:3])
    op.unify(q[3], k[3])
    op.freeze([q[3]], "queries and keys are multiplied, so that no weight reads it,")
    op.mixes([k[2]], "attended over")
    op.unify(k[2], v[2])
    op.unify(q[0], k[0])
    op.unify(k[0], v[0])
    op.unify(k[1], v[1])
    repeats = q[1].size // k[1].size
    op.unify(q[1], product([k[1], op.trace.solver.fresh(repeats)]) if repeats > 1 else k[1])
    for mask in list(op.tensors())[3:]:
        scores = (q[0], q[1], q[2], k[2])
        for axis, score in zip(reversed(op.axes(mask)), reversed(scores), strict=False):
            op.unify(axis, score)
    _label(op, (q[1],), "heads")
    _label(op, (q[3],), "head_dim")
    _label(op, (v[3],), "value_dim")
    return [(*q[:3], v[3])]


def grouped_matmul(op: Operation) -> Sequence[Axes]:
    """``(tokens, k) @ (experts, k, m)``, each token with the weight of its expert."""
    left, right = op.args[:2]
    if left.ndim != 2 or right.ndim != 3:
        return unknown(op, [op.trace.of(tensor) for tensor in op.tensors()])
    (tokens, k), (experts, rows, columns) = op.axes(left), op.axes(right)
    op.contracts(left, right, read=(rows,), written=(columns,))
    op.unify(k, rows)
    op.sums(left, right, [rows])
    op.freeze([experts], "tokens are routed to experts")
    return [(tokens, columns)]


def trilinear(op: Operation) -> Sequence[Axes]:
    """``sum(a * w * b)`` over some axes, each operand with unit axes put in (``nn.Bilinear``)."""
    left, weight, right = op.args[:3]
    spread = [
        _spread(op, tensor, places)
        for tensor, places in zip(op.args[:3], op.args[3:6], strict=True)
    ]
    summed = {dim % len(spread[0]) for dim in op.args[6]}
    written = tuple(
        axis for dim, axis in enumerate(spread[1]) if dim not in summed and axis.size > 1
    )
    for data, axes in ((left, spread[0]), (right, spread[2])):
        read = tuple(spread[1][dim] for dim in sorted(summed) if axes[dim].size > 1)
        op.contracts(data, weight, read=read, written=written)
    if not op.is_weight(weight):
        op.freeze([axes[dim] for axes in spread for dim in summed], "summed over without a weight")
    result: list[Expression] = []
    for a, w, b in zip(*spread, strict=True):
        present = [axis for axis in (a, w, b) if axis.size > 1] or [a]
        for axis in present[1:]:
            op.unify(present[0], axis)
        result.append(present[0])
    return [tuple(axis for dim, axis in enumerate(result) if dim not in summed)]


def _spread(op: Operation, tensor: Tensor, places: Sequence[int]) -> Axes:
    axes = list(op.axes(tensor))
    for place in sorted(places):
        axes.insert(place, *op.positions((1,)))
    return tuple(axes)


def distance(op: Operation) -> Sequence[Axes]:
    """Distances between rows: the axis that they are summed over is frozen."""
    a, b = op.axes(op.args[0]), op.axes(op.args[1])
    op.unify(a[-1], b[-1])
    op.freeze([a[-1]], "summed over in distances")
    for x, y in zip(a[:-2], b[:-2], strict=True):
        op.unify(x, y)
    return [(*a[:-1], b[-2])]


def fake_grouped_mm(left: Tensor, right: Tensor, *rest: object, **named: object) -> Tensor:
    """Return the shape of a grouped product; torch's own stand-in refuses all but bfloat16."""
    shape = (left.shape[0], right.shape[-1]) if left.ndim == 2 else None
    if right.ndim != 3 or shape is None:
        raise NotImplementedError("a grouped product of other than (tokens, k) and (experts, k, m)")
    return left.new_empty(shape)


STAND_INS = {"aten::_grouped_mm": fake_grouped_mm}

RULES: dict[str, Rule] = {
    **dict.fromkeys(("mm", "bmm"), matmul),
    **dict.fromkeys(("addmm", "baddbmm"), addmm),
    **dict.fromkeys(("mv", "dot", "vdot"), vector),
    "addmv": addmv,
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        attention,
    ),
    "_grouped_mm": grouped_matmul,
    "_trilinear": trilinear,
    **dict.fromkeys(("_cdist_forward", "_euclidean_dist"), distance),
}
