"""Rules for the operators of layers: convolution, embedding, normalisation, pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nodelens.channels.axes import Expression, product
from nodelens.channels.rules import Operation, Rule
from nodelens.channels.trace import Axes


def convolution(op: Operation) -> Sequence[Axes]:
    """Contract input channels, write output channels, in as many groups as the operator has."""
    source, weight, bias = op.args[:3]
    transposed, groups = bool(op.args[6]), int(op.args[8])
    w, channels = op.axes(weight), op.axes(source)[1]
    out_axis, in_axis = (w[1], w[0]) if transposed else (w[0], w[1])
    if groups == 1:
        op.unify(channels, in_axis)
        op.contracts(source, weight, read=(in_axis,), written=(out_axis,))
    else:
        out_axis = _grouped(op, channels, groups, transposed)
    if isinstance(bias, Tensor):
        op.unify(op.axes(bias)[0], out_axis)
    batch = op.axes(source)[0]
    return [(batch, out_axis, *op.positions(op.output.shape[2:]))]


def _grouped(op: Operation, channels: Expression, groups: int, transposed: bool) -> Expression:
    """Factor channels into groups × channels of a group; return the output channels.

    With one channel in and one out of each group (depthwise), the kernel only follows its input.
    """
    source, weight = op.args[:2]
    w = op.axes(weight)
    (group,) = op.trace.free((groups,))
    inside = op.trace.free((channels.size // groups, op.output.shape[1] // groups))
    op.unify(channels, product([group, inside[0]]))
    if transposed:
        op.unify(w[0], product([group, inside[0]]))
        op.unify(w[1], inside[1])
    else:
        op.unify(w[0], product([group, inside[1]]))
        op.unify(w[1], inside[0])
    op.contracts(source, weight, read=(inside[0],), written=(inside[1],))
    return product([group, inside[1]])


def embedding(op: Operation) -> Sequence[Axes]:
    """Look up rows: the vocabulary is fixed, the other axis is written."""
    weight, index = op.args[:2]
    w = op.axes(weight)
    op.trace.solver.freeze(w[0], "vocabulary")
    op.contracts(index, weight, read=(), written=(w[1],))
    return [(*op.axes(index), w[1])]


def batch_norm(op: Operation) -> Sequence[Axes]:
    """Normalise every channel by itself: weights and running statistics follow the channels."""
    axes = op.axes(op.args[0])
    for tensor in op.args[1:5]:
        if isinstance(tensor, Tensor):
            op.unify(op.axes(tensor)[0], axes[1])
    saved: list[Axes] = [
        (axes[1],) if tensor.ndim == 1 and tensor.shape[0] == axes[1].size else ()
        for tensor in op.outputs[1:]
    ]
    rest = [
        known or op.positions(tensor.shape)
        for known, tensor in zip(saved, op.outputs[1:], strict=True)
    ]
    return [axes, *rest]


def layer_norm(op: Operation) -> Sequence[Axes]:
    """Normalise over the last axes: their number enters the result."""
    axes = op.axes(op.args[0])
    count = len(op.args[1])
    for axis in axes[-count:]:
        _normalise(op, axis)
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
    _normalise(op, inside)
    for tensor in op.args[1:3]:
        if isinstance(tensor, Tensor):
            op.unify(op.axes(tensor)[0], axes[1])
    return [axes]


def _normalise(op: Operation, axis: Expression) -> None:
    for leaf in op.trace.solver.leaves(axis):
        leaf.variable.normalised = True


def pooling(op: Operation) -> Sequence[Axes]:
    """Keep batch and channels, change positions (pooling and resampling)."""
    kept = 2 if op.output.ndim > 3 or op.args[0].ndim == 3 else 1
    axes = op.axes(op.args[0])[:kept]
    return [(*axes, *op.positions(tensor.shape[kept:])) for tensor in op.outputs]


RULES: dict[str, Rule] = {
    "convolution": convolution,
    "embedding": embedding,
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "_native_batch_norm_legit_functional",
            "cudnn_batch_norm",
            "_batch_norm_with_update",
            "_batch_norm_no_update",
        ),
        batch_norm,
    ),
    "native_layer_norm": layer_norm,
    "native_group_norm": group_norm,
    **dict.fromkeys(
        (
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
            "avg_pool2d",
            "avg_pool3d",
            "avg_pool1d",
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "adaptive_max_pool2d",
            "upsample_nearest1d",
            "upsample_nearest2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "reflection_pad2d",
            "replication_pad2d",
        ),
        pooling,
    ),
}
