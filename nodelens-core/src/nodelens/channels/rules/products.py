"""Rules for products of matrices, attention, and bilinear forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nodelens.channels.expressions import Axes, Expression, product
from nodelens.channels.rules.operation import Operation, unknown
from nodelens.interfaces.operator import Operand, Operator, factors, rows

if TYPE_CHECKING:
    from torch import Tensor


def matmul(op: Operation) -> Sequence[Axes]:
    """``(…, n, k) @ (…, k, m)``: contract k, unify leading axes; one side may be a weight."""
    return [_multiplied(op, *op.args[:2])]


def _multiplied(op: Operation, left: Tensor, right: Tensor) -> Axes:
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
    return (*a[:-1], b[-1])


def _matmul_macs(op: Operation) -> Sequence[Axes]:
    return [(*op.axes(op.args[0]), op.axes(op.args[1])[-1])]


def _label(op: Operation, axes: Iterable[Expression], part: str) -> None:
    """Note which part of attention the axes are, for the names of their groups."""
    for axis in axes:
        for leaf in op.trace.solver.leaves(axis):
            leaf.variable.attention = leaf.variable.attention or (part, op.trace.module)


def addmm(op: Operation) -> Sequence[Axes]:
    """``bias + a @ b``: a product, and a bias that follows what is written."""
    return _biased(op, _multiplied(op, *op.args[1:3]))


def _addmm_macs(op: Operation) -> Sequence[Axes]:
    return [(*op.axes(op.args[1]), op.axes(op.args[2])[-1])]


def vector(op: Operation) -> Sequence[Axes]:
    """``matrix @ vector`` or ``vector · vector``: contract the last axis."""
    return [_multiplied_by_vector(op, *op.args[:2])]


def _multiplied_by_vector(op: Operation, left: Tensor, right: Tensor) -> Axes:
    a, b = op.axes(left), op.axes(right)
    op.contracts(left, right, read=(b[-1],), written=())
    op.contracts(right, left, read=(a[-1],), written=a[:-1])
    op.unify(a[-1], b[-1])
    op.sums(left, right, [a[-1]])
    return a[:-1]


def _vector_macs(op: Operation) -> Sequence[Axes]:
    return [op.axes(op.args[0])]


def addmv(op: Operation) -> Sequence[Axes]:
    """``bias + matrix @ vector``."""
    return _biased(op, _multiplied_by_vector(op, *op.args[1:3]))


def _addmv_macs(op: Operation) -> Sequence[Axes]:
    return [op.axes(op.args[1])]


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


def _attention_macs(op: Operation) -> Sequence[Axes]:
    """Scores of every query for every key, and as many weighted sums of values."""
    q, k, v = (op.axes(tensor) for tensor in op.args[:3])
    return [(*q, k[-2]), (*q[:-1], k[-2], v[-1])]


def grouped_matmul(op: Operation) -> Sequence[Axes]:
    """``(tokens, k) @ (experts, k, m)``, each token with the weight of its expert."""
    left, right = op.args[:2]
    if left.ndim != 2 or right.ndim != 3:
        return unknown(op, [op.trace.of(tensor) for tensor in op.tensors()])
    (tokens, k), (experts, inner, columns) = op.axes(left), op.axes(right)
    op.contracts(left, right, read=(inner,), written=(columns,))
    op.contracts(right, left, read=(k,), written=(tokens,))
    op.unify(k, inner)
    op.sums(left, right, [inner])
    op.freeze([experts], "tokens are routed to experts")
    return [(tokens, columns)]


def trilinear(op: Operation) -> Sequence[Axes]:
    """``sum(left[b, i] * weight[o, i, j] * right[b, j])`` over i and j, as `nn.Bilinear` does."""
    left, weight, right = op.args[:3]
    if [list(places) for places in op.args[3:7]] != [[1, 3], [0], [1, 2], [2, 3]]:
        return unknown(op, [op.trace.of(tensor) for tensor in op.tensors()])
    (batch, i), (written, *read), (other, j) = (op.axes(tensor) for tensor in op.args[:3])
    op.contracts(left, weight, read=(read[0],), written=(written,))
    op.contracts(right, weight, read=(read[1],), written=(written,))
    if not op.is_weight(weight):
        op.freeze([i, j], "summed over without a weight")
    op.unify(batch, other)
    op.unify(i, read[0])
    op.unify(j, read[1])
    return [(batch, written)]


def _trilinear_macs(op: Operation) -> Sequence[Axes]:
    return [(*op.positions(op.output.shape[:-1]), *op.axes(op.args[1]))]


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


OPERATORS: tuple[Operator, ...] = (
    *rows(("mm", "bmm"), matmul, operands=factors(0, 1), macs=_matmul_macs),
    *rows(("addmm", "baddbmm"), addmm, operands=factors(1, 2), macs=_addmm_macs),
    *rows(("mv", "dot", "vdot"), vector, operands=factors(0, 1, right_axis=-1), macs=_vector_macs),
    Operator("addmv", addmv, operands=factors(1, 2, right_axis=-1), macs=_addmv_macs),
    *rows(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        attention,
        macs=_attention_macs,
    ),
    Operator(
        "_grouped_mm",
        grouped_matmul,
        operands=factors(0, 1),
        macs=_matmul_macs,
        fake=fake_grouped_mm,
    ),
    Operator(
        "_trilinear",
        trilinear,
        operands=(Operand(0, -1, 1, 1), Operand(2, -1, 1, 2)),
        macs=_trilinear_macs,
    ),
    *rows(("_cdist_forward", "_euclidean_dist"), distance),
)
