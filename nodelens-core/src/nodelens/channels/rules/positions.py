"""Rules for operators that change positions: pooling, resampling, shuffles, patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodelens.channels.expressions import Axes, product
from nodelens.interfaces.operator import Operator, rows

if TYPE_CHECKING:
    from nodelens.channels.rules.operation import Operation


def pooling(op: Operation) -> Sequence[Axes]:
    """Keep the leading axes, freeze the positions that are pooled, resampled or padded.

    The name of the operator ends in the number of its spatial axes.
    """
    source = op.args[0]
    spatial = next(int(mark) for mark in op.name[::-1] if mark in "123")
    axes = op.axes(source)
    op.freeze(axes[-spatial:], "pooled, resampled or padded")
    kept = axes[:-spatial]
    for other in list(op.tensors())[1:]:  # where the maxima were, for unpooling
        for left, right in zip(kept, op.axes(other), strict=False):
            op.unify(left, right)
    return [(*kept, *op.positions(tensor.shape[len(kept) :])) for tensor in op.outputs]


def sampler(op: Operation) -> Sequence[Axes]:
    """Sample positions by a grid: batch and channels are kept."""
    source, grid = op.args[:2]
    axes, places = op.axes(source), op.axes(grid)
    op.freeze([*axes[2:], *places[1:]], "sampled by a grid")
    op.unify(axes[0], places[0])
    return [(*axes[:2], *op.positions(op.output.shape[2:]))]


def pixel_shuffle(op: Operation) -> Sequence[Axes]:
    """``(…, channels × r × r, h, w)`` to ``(…, channels, h × r, w × r)``."""
    axes, r = op.axes(op.args[0]), int(op.args[1])
    (channels,) = op.trace.free((op.output.shape[-3],))
    inside = op.trace.fixed((r, r), f"becomes positions in {op.trace.where} (pixel shuffle)")
    op.unify(axes[-3], product([channels, *inside]))
    return [(*axes[:-3], channels, product([axes[-2], inside[0]]), product([axes[-1], inside[1]]))]


def pixel_unshuffle(op: Operation) -> Sequence[Axes]:
    """``(…, channels, h × r, w × r)`` to ``(…, channels × r × r, h, w)``."""
    axes, r = op.axes(op.args[0]), int(op.args[1])
    inside = op.trace.fixed((r, r), f"comes from positions in {op.trace.where} (pixel unshuffle)")
    outside = op.trace.free(op.output.shape[-2:])
    for axis, rest, part in zip(axes[-2:], outside, inside, strict=True):
        op.unify(axis, product([rest, part]))
    return [(*axes[:-3], product([axes[-3], *inside]), *outside)]


def channel_shuffle(op: Operation) -> Sequence[Axes]:
    """``groups × channels`` to ``channels × groups``."""
    axes, groups = op.axes(op.args[0]), int(op.args[1])
    group, inside = op.trace.free((groups, axes[1].size // groups))
    op.unify(axes[1], product([group, inside]))
    return [(axes[0], product([inside, group]), *axes[2:])]


def patches(op: Operation) -> Sequence[Axes]:
    """``(…, channels, h, w)`` to ``(…, channels × patch, patches)`` (``nn.Unfold``)."""
    axes = op.axes(op.args[0])
    op.freeze(axes[-2:], "split into patches")
    inside = op.positions((op.output.shape[-2] // axes[-3].size,))
    return [(*axes[:-3], product([axes[-3], *inside]), *op.positions(op.output.shape[-1:]))]


def unpatched(op: Operation) -> Sequence[Axes]:
    """``(…, channels × patch, patches)`` to ``(…, channels, h, w)`` (``nn.Fold``)."""
    axes = op.axes(op.args[0])
    (channels,) = op.trace.free((op.output.shape[-3],))
    inside = op.positions((axes[-2].size // channels.size,))
    op.unify(axes[-2], product([channels, *inside]))
    op.freeze(axes[-1:], "put together from patches")
    return [(*axes[:-2], channels, *op.positions(op.output.shape[-2:]))]


def windows(op: Operation) -> Sequence[Axes]:
    """Split an axis into windows, which is frozen; the axis of a window comes last."""
    axes, dim = op.axes(op.args[0]), int(op.args[1])
    dim %= len(axes)
    op.freeze([axes[dim]], "split into windows")
    windows = op.positions((op.output.shape[dim], op.output.shape[-1]))
    return [(*axes[:dim], windows[0], *axes[dim + 1 :], windows[1])]


def diagonal(op: Operation) -> Sequence[Axes]:
    """Take the diagonal of two axes, which are frozen; it comes last."""
    axes = op.axes(op.args[0])
    first = op.argument(2, "dim1", 0) % len(axes)
    second = op.argument(3, "dim2", 1) % len(axes)
    op.freeze([axes[first], axes[second]], "only the diagonal is read")
    kept = [axis for dim, axis in enumerate(axes) if dim not in (first, second)]
    return [(*kept, *op.positions(op.output.shape[-1:]))]


OPERATORS: tuple[Operator, ...] = (
    *rows(("max_pool2d_with_indices", "max_pool3d_with_indices", "fractional_max_pool2d"), pooling),
    *rows(("fractional_max_pool3d", "max_unpool2d", "max_unpool3d", "avg_pool1d"), pooling),
    *rows(("avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), pooling),
    *rows(("adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d"), pooling),
    *rows(("upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d"), pooling),
    *rows(("_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d"), pooling),
    *rows(("upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d"), pooling),
    *rows(("_upsample_bicubic2d_aa", "upsample_trilinear3d", "reflection_pad1d"), pooling),
    *rows(("reflection_pad2d", "reflection_pad3d", "replication_pad1d"), pooling),
    *rows(("replication_pad2d", "replication_pad3d"), pooling),
    *rows(("grid_sampler_2d", "grid_sampler_3d"), sampler),
    Operator("pixel_shuffle", pixel_shuffle),
    Operator("pixel_unshuffle", pixel_unshuffle),
    *rows(("channel_shuffle", "native_channel_shuffle"), channel_shuffle),
    Operator("im2col", patches),
    Operator("col2im", unpatched),
    Operator("unfold", windows),
    Operator("diagonal", diagonal),
)
