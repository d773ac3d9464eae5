"""Rules for element-wise operators, reductions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nodelens.channels.axes import Expression
from nodelens.channels.rules import Operation, Rule
from nodelens.channels.trace import Axes


def pointwise(op: Operation) -> Sequence[Axes]:
    """Unify the axes of all operands, aligned from the right as broadcasting does."""
    shape = op.output.shape
    axes: list[Expression | None] = [None] * len(shape)
    for tensor in op.tensors():
        for position, axis in enumerate(reversed(op.axes(tensor)), start=1):
            if axis.size != shape[-position]:
                continue
            held = axes[-position]
            if held is None:
                axes[-position] = axis
            else:
                op.unify(held, axis)
    filled = (axis or op.positions((shape[dim],))[0] for dim, axis in enumerate(axes))
    result = tuple(filled)
    return [result for _ in op.outputs]


def reduction(op: Operation) -> Sequence[Axes]:
    """Drop the reduced axes; nodes summed without a weight are frozen."""
    reason = f"reduced by {op.name} in {op.trace.module or 'the model'}"
    for axis in _reduced(op)[0]:
        op.trace.solver.freeze(axis, reason)
    return [_reduced(op)[1] for _ in op.outputs]


def average(op: Operation) -> Sequence[Axes]:
    """Drop the averaged axes; their number enters the result, so their groups are normalised."""
    reduced, kept = _reduced(op)
    for axis in reduced:
        for leaf in op.trace.solver.leaves(axis):
            leaf.variable.normalised = True
    return [kept for _ in op.outputs]


def _reduced(op: Operation) -> tuple[list[Expression], Axes]:
    source: Tensor = op.args[0]
    axes = op.axes(source)
    dims = op.argument(1, "dim")
    if isinstance(dims, int):
        dims = [dims]
    chosen = {dim % source.ndim for dim in dims} if dims else set(range(source.ndim))
    reduced = [axes[dim] for dim in sorted(chosen)]
    if op.output.ndim == source.ndim:
        unit = op.positions((1,))[0]
        return reduced, tuple(unit if dim in chosen else axes[dim] for dim in range(source.ndim))
    return reduced, tuple(axis for dim, axis in enumerate(axes) if dim not in chosen)


def softmax(op: Operation) -> Sequence[Axes]:
    """Keep the axes; what is normalised against each other cannot be removed."""
    axes = op.axes(op.args[0])
    op.trace.solver.freeze(axes[op.args[1]], f"softmax in {op.trace.module or 'the model'}")
    return [axes]


def matmul(op: Operation) -> Sequence[Axes]:
    """``(…, n, k) @ (…, k, m)``: contract k, unify leading axes; one side may be a weight."""
    left, right = op.args[:2]
    a, b = op.axes(left), op.axes(right)
    op.unify(a[-1], b[-2])
    for x, y in zip(a[:-2], b[:-2], strict=True):
        op.unify(x, y)
    op.contracts(left, right, read=(b[-2],), written=(b[-1],))
    op.contracts(right, left, read=(a[-1],), written=(a[-2],))
    return [(*a[:-1], b[-1])]


def addmm(op: Operation) -> Sequence[Axes]:
    """``bias + a @ b``: a product, and a bias that follows what is written."""
    bias, left, right = op.args[:3]
    product = Operation(op.trace, op.function, (left, right), {}, op.outputs)
    (axes,) = matmul(product)
    for position, axis in enumerate(reversed(op.axes(bias)), start=1):
        op.unify(axis, axes[-position])
    return [axes]


def attention(op: Operation) -> Sequence[Axes]:
    """Fused attention on ``(batch, heads, positions, head_dim)``: queries meet keys, values leave."""
    q, k, v = (op.axes(tensor) for tensor in op.args[:3])
    op.unify(q[3], k[3])
    op.unify(k[2], v[2])
    for dim in (0, 1):
        op.unify(k[dim], v[dim])
        if q[dim].size == k[dim].size:
            op.unify(q[dim], k[dim])
    return [(*q[:3], v[3])]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("copy", "masked_fill", "where"), pointwise),
    **dict.fromkeys(("mean", "var", "std", "var_mean", "std_mean"), average),
    **dict.fromkeys(
        ("sum", "amax", "amin", "max", "min", "argmax", "prod", "any", "all", "logsumexp"),
        reduction,
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum"), softmax),
    **dict.fromkeys(("mm", "bmm"), matmul),
    **dict.fromkeys(("addmm", "baddbmm"), addmm),
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
}
