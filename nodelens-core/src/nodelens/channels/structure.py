"""Rules for operators that rearrange axes: views, concatenations, cuts, pads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nodelens.channels.axes import Expression, concatenation, product
from nodelens.channels.rules import Operation, Rule
from nodelens.channels.trace import Axes


def view(op: Operation) -> Sequence[Axes]:
    """Regroup axes: every block of old axes and of new axes with equal products is one axis."""
    old, sizes = list(op.axes(op.args[0])), list(op.output.shape)
    result: list[Expression] = []
    while sizes:
        before, after = _block(old, sizes)
        new = [op.trace.solver.fresh(size) for size in after]
        if len(after) == 1:
            result.append(product(before) if before else new[0])
            continue
        op.unify(product(before), product(new))
        result.extend(new)
    return [tuple(result)]


def _block(old: list[Expression], sizes: list[int]) -> tuple[list[Expression], list[int]]:
    """Take the shortest runs of old axes and new sizes with one product; units go alone."""
    after = [sizes.pop(0)]
    if after == [1]:
        return [], after
    before: list[Expression] = []
    while math.prod(axis.size for axis in before) != math.prod(after):
        if old and math.prod(axis.size for axis in before) < math.prod(after):
            before.append(old.pop(0))
        else:
            after.append(sizes.pop(0))
    return [axis for axis in before if axis.size != 1], after


def permute(op: Operation) -> Sequence[Axes]:
    """Reorder axes."""
    axes = op.axes(op.args[0])
    return [tuple(axes[dim] for dim in op.args[1])]


def transpose(op: Operation) -> Sequence[Axes]:
    """Exchange two axes (``t``: the only two)."""
    axes = list(op.axes(op.args[0]))
    if len(axes) > 1:
        a, b = op.args[1:3] if len(op.args) > 1 else (0, 1)
        axes[a], axes[b] = axes[b], axes[a]
    return [tuple(axes)]


def expand(op: Operation) -> Sequence[Axes]:
    """Keep axes, except unit axes that become copies."""
    shape = op.output.shape
    axes = op.axes(op.args[0])
    lead = len(shape) - len(axes)
    return [
        tuple(
            axes[dim - lead]
            if dim >= lead and axes[dim - lead].size == size
            else op.positions((size,))[0]
            for dim, size in enumerate(shape)
        )
    ]


def cat(op: Operation) -> Sequence[Axes]:
    """Concatenate along one axis, unify the others."""
    tensors: list[Tensor] = [tensor for tensor in op.args[0] if tensor.ndim == op.output.ndim]
    dim = op.argument(1, "dim", 0) % op.output.ndim
    axes = [op.axes(tensor) for tensor in tensors]
    for other in axes[1:]:
        for position, (left, right) in enumerate(zip(axes[0], other, strict=True)):
            if position != dim:
                op.unify(left, right)
    joined = concatenation([each[dim] for each in axes])
    return [(*axes[0][:dim], joined, *axes[0][dim + 1 :])]


def stack(op: Operation) -> Sequence[Axes]:
    """Unify all axes and add one."""
    dim = op.argument(1, "dim", 0) % op.output.ndim
    axes = [op.axes(tensor) for tensor in op.args[0]]
    for other in axes[1:]:
        for left, right in zip(axes[0], other, strict=True):
            op.unify(left, right)
    return [(*axes[0][:dim], *op.positions((len(axes),)), *axes[0][dim:])]


def split(op: Operation) -> Sequence[Axes]:
    """Cut one axis into consecutive parts (``split``, ``split_with_sizes``, ``chunk``)."""
    dim = op.argument(2, "dim", 0) % op.args[0].ndim
    axes = op.axes(op.args[0])
    rest = axes[dim]
    results: list[Axes] = []
    for part in op.outputs[:-1]:
        front, rest = op.trace.solver.cut(rest, part.shape[dim])
        results.append((*axes[:dim], front, *axes[dim + 1 :]))
    return [*results, (*axes[:dim], rest, *axes[dim + 1 :])]


def slice_(op: Operation) -> Sequence[Axes]:
    """Keep one run of an axis; a step freezes it."""
    source = op.args[0]
    dim = op.argument(1, "dim", 0) % source.ndim
    axes, size = op.axes(source), source.shape[dim]
    length = op.output.shape[dim]
    start = min(max(_wrapped(op.argument(2, "start", 0) or 0, size), 0), size)
    if op.argument(4, "step", 1) != 1:
        return [
            (*axes[:dim], *_frozen(op, axes[dim], length, "sliced with a step"), *axes[dim + 1 :])
        ]
    middle = axes[dim]
    if 0 < start < size:
        _, middle = op.trace.solver.cut(middle, start)
    if 0 < length < middle.size:
        middle, _ = op.trace.solver.cut(middle, length)
    return [(*axes[:dim], middle, *axes[dim + 1 :])]


def _wrapped(index: int, size: int) -> int:
    return index + size if index < 0 else index


def select(op: Operation) -> Sequence[Axes]:
    """Drop an axis of which one index is taken; it is frozen."""
    dim = op.args[1] % op.args[0].ndim
    axes = op.axes(op.args[0])
    op.trace.solver.freeze(axes[dim], f"one index is selected in {op.trace.module or 'the model'}")
    return [(*axes[:dim], *axes[dim + 1 :])]


def unbind(op: Operation) -> Sequence[Axes]:
    """Drop an axis that is taken apart index by index; it is frozen."""
    dim = op.argument(1, "dim", 0) % op.args[0].ndim
    axes = op.axes(op.args[0])
    op.trace.solver.freeze(axes[dim], f"taken apart in {op.trace.module or 'the model'}")
    return [(*axes[:dim], *axes[dim + 1 :]) for _ in op.outputs]


def pad(op: Operation) -> Sequence[Axes]:
    """Put constant indices before and after: a concatenation with axes of fixed size."""
    source, widths = op.args[0], op.args[1]
    axes = list(op.axes(source))
    for number in range(len(widths) // 2):
        dim = source.ndim - 1 - number
        before, after = widths[2 * number : 2 * number + 2]
        if before < 0 or after < 0:
            axes[dim] = _frozen(op, axes[dim], op.output.shape[dim], "cropped")[0]
            continue
        parts: list[Expression] = [axes[dim]]
        parts = [*op.trace.fixed([before], "padding"), *parts] if before else parts
        parts = [*parts, *op.trace.fixed([after], "padding")] if after else parts
        axes[dim] = concatenation(parts)
    return [tuple(axes)]


def _frozen(op: Operation, axis: Expression, size: int, reason: str) -> Axes:
    op.trace.solver.freeze(axis, reason)
    return op.trace.fixed([size], reason)


def same(op: Operation) -> Sequence[Axes]:
    """Return every tensor with the axes of the first argument."""
    axes = op.axes(op.args[0])
    return [axes for tensor in op.outputs if tensor.shape == op.args[0].shape]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze"), view),
    "permute": permute,
    **dict.fromkeys(("t", "transpose"), transpose),
    "expand": expand,
    "cat": cat,
    "stack": stack,
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "slice": slice_,
    "select": select,
    "unbind": unbind,
    "constant_pad_nd": pad,
    **dict.fromkeys(
        [
            "clone",
            "contiguous",
            "detach",
            "alias",
            "_to_copy",
            "lift_fresh",
            "lift_fresh_copy",
            "native_dropout",
            "zeros_like",
            "ones_like",
            "full_like",
            "empty_like",
            "rand_like",
            "randn_like",
            "bernoulli",
            "zero",
            "fill",
            "hardswish",
        ],
        same,
    ),
}
