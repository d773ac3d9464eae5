"""Rules for the operators of layers: convolution, embedding, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nodelens.channels.expressions import Axes, Expression, product
from nodelens.channels.rules import masked_reductions as reductions
from nodelens.interfaces.operator import Along, Operand, Operator, rows

if TYPE_CHECKING:
    from nodelens.channels.rules.operation import Operation


def convolution(op: Operation) -> Sequence[Axes]:
    """Contract input channels, write output channels, in as many groups as the operator has."""
    source, weight, bias = op.args[:3]
    transposed, groups = bool(op.args[6]), int(op.args[8])
    w, channels = op.axes(weight), op.axes(source)[1]
    out_axis, in_axis = (w[1], w[0]) if transposed else (w[0], w[1])
    if groups == 1:
        op.contracts(source, weight, read=(in_axis,), written=(out_axis,))
        op.unify(channels, in_axis)
        op.sums(source, weight, [in_axis])
    else:
        out_axis = _grouped(op, channels, groups, transposed)
    if isinstance(bias, Tensor):
        op.unify(op.axes(bias)[0], out_axis)
    return [(op.axes(source)[0], out_axis, *_convolved(op))]


def _grouped(op: Operation, channels: Expression, groups: int, transposed: bool) -> Expression:
    """Factor channels into groups × channels of one group, and return the output channels.

    With one channel in and one out of each group (depthwise), the kernel only follows its input.
    """
    source, weight = op.args[:2]
    w = op.axes(weight)
    (group,) = op.trace.free((groups,))
    reads, writes = op.trace.free((channels.size // groups, op.output.shape[1] // groups))
    op.unify(w[0], product([group, reads if transposed else writes]))
    op.unify(w[1], writes if transposed else reads)
    op.contracts(source, weight, read=(reads,), written=(writes,))
    op.unify(channels, product([group, reads]))
    op.sums(source, weight, [reads])
    return product([group, writes])


def _convolved(op: Operation) -> Axes:
    """Return the positions after a convolution; kernels of one position keep them."""
    axes, kernel = op.axes(op.args[0])[2:], op.args[1].shape[2:]
    stride, padding = op.args[3], op.args[4]
    if all(size == 1 for size in kernel) and set(stride) == {1} and not any(padding):
        return axes
    op.freeze(axes, "convolved over")
    op.mixes(axes, "convolved over")
    return op.positions(op.output.shape[2:])


def _read_channels(along: Along, args: Sequence[Any]) -> Tensor | None:
    """Return the parameter's indices along the channels that a convolution reads.

    None where kernels of one group disagree, so that no channel is read as one index.
    """
    weight, transposed, groups = args[1], bool(args[6]), int(args[8])
    if transposed:
        return along(weight, (0,))
    indices = along(weight, (0, 1)).view(groups, -1, weight.shape[1])
    return indices[:, 0].flatten() if bool((indices == indices[:, :1]).all()) else None


def _convolution_macs(op: Operation) -> Sequence[Axes]:
    """Return one product per weight and position of the output, or of the input if transposed."""
    source, weight = op.args[:2]
    over = source if op.args[6] else op.output
    positions = op.positions((over.shape[0], *over.shape[2:]))
    return [(*positions, *op.axes(weight))]


def embedding(op: Operation) -> Sequence[Axes]:
    """Look up rows: the vocabulary is fixed, the other axis is written."""
    weight, index = op.args[:2]
    w = op.axes(weight)
    op.trace.solver.freeze(w[0], "vocabulary")
    op.contracts(index, weight, read=(), written=(w[1],))
    return [(*op.axes(index), w[1])]


def embedding_bag(op: Operation) -> Sequence[Axes]:
    """Sum or average rows of bags."""
    weight = op.args[0]
    w = op.axes(weight)
    op.trace.solver.freeze(w[0], "vocabulary")
    for tensor in list(op.tensors())[1:]:
        op.freeze(op.axes(tensor), "put into bags")
        op.contracts(tensor, weight, read=(), written=(w[1],))
    return [(*op.positions(op.output.shape[:1]), w[1])]


def batch_norm(op: Operation) -> Sequence[Axes]:
    """Normalise every channel by itself: weights and running statistics follow the channels."""
    axes = op.axes(op.args[0])
    for tensor in op.args[1:5]:
        if isinstance(tensor, Tensor):
            op.unify(op.axes(tensor)[0], axes[1])
    if any(argument is True for argument in op.args[3:]):  # statistics of what is read itself
        op.mixes(axes[:1], "normalised over")
        for axis in (axes[0], *axes[2:]):
            op.trace.solver.normalise(axis)
    saved = [
        (axes[1],) if tuple(tensor.shape) == (axes[1].size,) else op.positions(tensor.shape)
        for tensor in op.outputs[1:]
    ]
    return [axes, *saved]


def layer_norm(op: Operation) -> Sequence[Axes]:
    """Normalise over the last axes: their number enters the result."""
    axes = op.axes(op.args[0])
    count = len(op.args[1])
    for axis in axes[-count:]:
        op.trace.solver.normalise(axis)
    for tensor in op.args[2:4]:
        if isinstance(tensor, Tensor):
            for left, right in zip(op.axes(tensor), axes[-count:], strict=True):
                op.unify(left, right)
    kept = axes[:-count]
    return [axes, *((*kept, *op.positions(t.shape[len(kept) :])) for t in op.outputs[1:])]


def group_norm(op: Operation) -> Sequence[Axes]:
    """Normalise over the channels of each group: their number enters, not that of the groups."""
    axes = op.axes(op.args[0])
    groups = int(op.args[6])
    group, inside = op.trace.free((groups, axes[1].size // groups))
    op.unify(axes[1], product([group, inside]))
    for axis in (inside, *axes[2:]):
        op.trace.solver.normalise(axis)
    for tensor in op.args[1:3]:
        if isinstance(tensor, Tensor):
            op.unify(op.axes(tensor)[0], axes[1])
    return [axes]


def weight_norm(op: Operation) -> Sequence[Axes]:
    """Normalise a weight over all axes but one, whose scale is a parameter of its own."""
    weight, scale = op.args[:2]
    axes, scales = op.axes(weight), op.axes(scale)
    dim = op.argument(2, "dim", 0) % len(axes)
    op.unify(axes[dim], scales[dim] if len(scales) == len(axes) else scales[0])
    for position, axis in enumerate(axes):
        if position != dim:
            op.trace.solver.normalise(axis)
    return [axes, scales]


OPERATORS: tuple[Operator, ...] = (
    Operator(
        "convolution",
        convolution,
        operands=(Operand(0, 1, 1, indices=_read_channels),),
        macs=_convolution_macs,
    ),
    Operator("embedding", embedding),
    *rows(("_embedding_bag", "_embedding_bag_forward_only"), embedding_bag),
    *rows(
        ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
        batch_norm,
        average=reductions.masked_batch_norm,
    ),
    *rows(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), batch_norm),
    *rows(("_native_batch_norm_legit_functional", "_batch_norm_with_update"), batch_norm),
    Operator("_batch_norm_no_update", batch_norm),
    Operator("native_layer_norm", layer_norm, average=reductions.masked_layer_norm),
    Operator("_fused_rms_norm", layer_norm, average=reductions.masked_rms_norm),
    Operator("native_group_norm", group_norm, average=reductions.masked_group_norm),
    Operator("_weight_norm_interface", weight_norm),
)
