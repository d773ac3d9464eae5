"""Rules for element-wise operators and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodelens.channels.rules import draws
from nodelens.channels.rules import masked_reductions as reductions
from nodelens.interfaces.operator import Operator, rows

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.expressions import Axes, Expression
    from nodelens.channels.rules.operation import Operation


def pointwise(op: Operation) -> Sequence[Axes]:
    """Unify the axes of all operands, aligned from the right as broadcasting does."""
    shape = op.output.shape
    axes: list[Expression | None] = [None] * len(shape)
    for tensor in op.tensors():
        for position, axis in enumerate(reversed(op.axes(tensor)), start=1):
            if position > len(shape) or axis.size != shape[-position]:
                continue
            held = axes[-position]
            if held is None:
                axes[-position] = axis
            else:
                _meet(op, held, axis)
    filled = (axis or op.positions((shape[dim],))[0] for dim, axis in enumerate(axes))
    result = tuple(filled)
    return [result for _ in op.outputs]


def _meet(op: Operation, left: Expression, right: Expression) -> None:
    if op.trace.solver.swapped(left, right):
        op.freeze([left], "parts of it change place (rotary embedding)")
    op.unify(left, right)


def reduction(op: Operation) -> Sequence[Axes]:
    """Drop the reduced axes; nodes summed without a weight are frozen."""
    reduced, kept = _reduced(op)
    op.freeze(reduced, f"reduced by {op.name}")
    op.mixes(reduced, f"reduced by {op.name}")
    return [kept for _ in op.outputs]


def average(op: Operation) -> Sequence[Axes]:
    """Drop the averaged axes; their number enters the result, so their groups are normalised."""
    reduced, kept = _reduced(op)
    op.mixes(reduced, f"averaged by {op.name}")
    for axis in reduced:
        op.trace.solver.normalise(axis)
    return [kept for _ in op.outputs]


def _reduced(op: Operation) -> tuple[list[Expression], Axes]:
    source: Tensor = op.args[0]
    axes = op.axes(source)
    dims = op.argument(2 if "norm" in op.name else 1, "dim")
    if isinstance(dims, bool):
        dims = None
    if isinstance(dims, int):
        dims = [dims]
    chosen = {dim % source.ndim for dim in dims} if dims else set(range(source.ndim))
    reduced = [axes[dim] for dim in sorted(chosen)]
    if op.output.ndim == source.ndim:
        unit = op.positions((1,))[0]
        return reduced, tuple(unit if dim in chosen else axes[dim] for dim in range(source.ndim))
    return reduced, tuple(axis for dim, axis in enumerate(axes) if dim not in chosen)


def along(op: Operation) -> Sequence[Axes]:
    """Keep the axes; those that are normalised or summed along cannot lose indices."""
    axes = op.axes(op.args[0])
    dim = op.argument(1, "dim", -1)
    chosen, doing = axes[dim : dim + 1] if dim >= 0 else axes[dim:][:1], op.name.strip("_")
    op.freeze(chosen, f"{doing} along it")
    op.mixes(chosen, f"{doing} along it")
    return [axes for _ in op.outputs]


def loss(op: Operation) -> Sequence[Axes]:
    """Freeze everything that a loss compares."""
    for tensor in op.tensors():
        op.freeze(op.axes(tensor), "compared by a loss")
    return []


def transform(op: Operation) -> Sequence[Axes]:
    """Freeze the axes that a Fourier transform mixes; keep the others."""
    source: Tensor = op.args[0]
    axes = list(op.axes(source))
    for dim in op.args[1]:
        op.freeze([axes[dim]], "mixed by a Fourier transform")
        axes[dim] = op.positions((op.output.shape[dim],))[0]
    return [tuple(axes)]


def complex_parts(op: Operation) -> Sequence[Axes]:
    """Add or drop the axis of the real and the imaginary part, which is fixed."""
    axes = op.axes(op.args[0])
    if op.name == "view_as_real":
        return [(*axes, *op.positions((2,)))]
    op.freeze(axes[-1:], "taken as real and imaginary part (rotary embedding)")
    return [axes[:-1]]


def fake_quantize(op: Operation) -> Sequence[Axes]:
    """Keep the axes; a scale for each index of one axis follows that axis."""
    axes = op.axes(op.args[0])
    if "per_channel" in op.name:
        for tensor in op.args[1:3]:
            op.unify(op.axes(tensor)[0], axes[op.args[3]])
    return [axes for _ in op.outputs]


def triangle(op: Operation) -> Sequence[Axes]:
    """Freeze the two axes of which a triangle is kept."""
    axes = op.axes(op.args[0])
    op.freeze(axes[-2:], "only a triangle is kept")
    return [axes]


OPERATORS: tuple[Operator, ...] = (
    *rows(("copy", "masked_fill", "where", "hardswish", "rsub", "floor_divide"), pointwise),
    *rows(("special_i0", "_prelu_kernel", "complex", "polar", "real", "_conj", "conj"), pointwise),
    Operator("rrelu_with_noise", pointwise, draw=draws.rrelu),
    Operator("rrelu_with_noise_", pointwise, draw=draws.rrelu_),
    Operator("mean", average, average=reductions.masked_mean),
    Operator("var", average, average=reductions.masked_var),
    Operator("std", average, average=reductions.masked_std),
    Operator("var_mean", average, average=reductions.masked_var_mean),
    Operator("std_mean", average, average=reductions.masked_std_mean),
    Operator("linalg_vector_norm", average, average=reductions.masked_vector_norm),
    Operator("norm", average, average=reductions.masked_norm),
    *rows(("sum", "nansum", "amax", "amin", "aminmax", "max", "min", "argmax"), reduction),
    *rows(("argmin", "prod", "any", "all", "logsumexp", "count_nonzero"), reduction),
    *rows(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod"), along),
    *rows(("cummax", "cummin", "logcumsumexp"), along),
    *rows(("nll_loss_forward", "nll_loss2d_forward", "mse_loss", "smooth_l1_loss"), loss),
    *rows(("huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"), loss),
    *rows(("_fft_r2c", "_fft_c2r", "_fft_c2c"), transform),
    *rows(("view_as_real", "view_as_complex"), complex_parts),
    *rows(("tril", "triu"), triangle),
    Operator("fake_quantize_per_tensor_affine_cachemask", fake_quantize),
    Operator("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", fake_quantize),
    Operator("fake_quantize_per_channel_affine_cachemask", fake_quantize),
)
