"""Rules for operators that rearrange axes: views, copies, concatenations, splits, pads."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nodelens.channels.expressions import Axes, Expression, concatenation, product
from nodelens.channels.rules import draws
from nodelens.channels.rules.operation import Operation, constant, unknown
from nodelens.interfaces.operator import Operator, rows


def view(op: Operation) -> Sequence[Axes]:
    """Regroup axes: a run of old axes and a run of new axes with equal products are unified."""
    source = op.args[0]
    if source.numel() != op.output.numel() or not source.numel():
        return unknown(op, [op.trace.of(source)])
    old, sizes = list(op.axes(source)), list(op.output.shape)
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
    """Keep axes, except unit axes that become copies: these have any number that is needed."""
    axes = op.axes(op.args[0])
    lead = op.output.ndim - len(axes)
    return [
        tuple(
            axes[dim - lead]
            if dim >= lead and axes[dim - lead].size == size
            else op.trace.solver.fresh(size)
            for dim, size in enumerate(op.output.shape)
        )
    ]


def repeat(op: Operation) -> Sequence[Axes]:
    """Put copies of an axis one after the other: copies × axis."""
    axes = op.axes(op.args[0])
    counts = op.args[1]
    lead = len(counts) - len(axes)
    copies = op.trace.free(counts)
    return [
        tuple(
            product([copies[dim], axes[dim - lead]]) if dim >= lead else copies[dim]
            for dim in range(len(counts))
        )
    ]


def as_strided(op: Operation) -> Sequence[Axes]:
    """Keep the axes where only the strides of unit axes change; freeze anything else."""
    source: Tensor = op.args[0]
    axes, sizes, strides = op.axes(source), op.args[1], op.args[2]
    known = [(axis.size, s) for axis, s in zip(axes, op.strides, strict=True) if axis.size > 1]
    asked = [(size, s) for size, s in zip(sizes, strides, strict=True) if size > 1]
    if tuple(axis.size for axis in axes) == tuple(sizes) and known == asked:
        return [axes]
    op.freeze(axes, "read with strides of its own")
    return [op.positions(op.output.shape)]


def cat(op: Operation) -> Sequence[Axes]:
    """Concatenate along one axis, unify the others."""
    tensors: list[Tensor] = [tensor for tensor in op.args[0] if tensor.numel()]
    if not tensors:
        return []
    dim = op.argument(1, "dim", 0) % op.output.ndim
    axes = [op.axes(tensor) for tensor in tensors]
    for other in axes[1:]:
        for position, (left, right) in enumerate(zip(axes[0], other, strict=True)):
            if position != dim:
                op.unify(left, right)
    joined = concatenation([each[dim] for each in axes])
    if len(axes) > 1 and all(tensor is tensors[0] and op.is_weight(tensor) for tensor in tensors):
        op.freeze([joined], "frequencies are repeated (rotary embedding)")
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
    """Split one axis into consecutive parts (``split``, ``split_with_sizes``, ``chunk``)."""
    dim = op.argument(2, "dim", 0) % op.args[0].ndim
    axes = op.axes(op.args[0])
    rest = axes[dim]
    results: list[Axes] = []
    for part in op.outputs[:-1]:
        front, rest = op.split(rest, part.shape[dim])
        results.append((*axes[:dim], front, *axes[dim + 1 :]))
    return [*results, (*axes[:dim], rest, *axes[dim + 1 :])]


def pad(op: Operation) -> Sequence[Axes]:
    """Put constant indices before and after: a concatenation with axes of fixed size."""
    source, widths = op.args[0], op.args[1]
    axes = list(op.axes(source))
    for number in range(len(widths) // 2):
        dim = source.ndim - 1 - number
        before, after = widths[2 * number : 2 * number + 2]
        if before < 0 or after < 0:
            op.freeze([axes[dim]], "cropped")
            axes[dim] = op.positions((op.output.shape[dim],))[0]
            continue
        parts: list[Expression] = [axes[dim]]
        parts = [*op.trace.fixed([before], "padding"), *parts] if before else parts
        parts = [*parts, *op.trace.fixed([after], "padding")] if after else parts
        axes[dim] = concatenation(parts)
    return [tuple(axes)]


def glu(op: Operation) -> Sequence[Axes]:
    """Split an axis in two halves, of which one gates the other."""
    dim = op.argument(1, "dim", -1) % op.output.ndim
    axes = op.axes(op.args[0])
    front, back = op.trace.solver.split(axes[dim], op.output.shape[dim])
    op.unify(front, back)
    return [(*axes[:dim], front, *axes[dim + 1 :])]


def same(op: Operation) -> Sequence[Axes]:
    """Return every tensor with the axes of the first argument, where that is a tensor."""
    source = op.args[0]
    if not isinstance(source, Tensor):
        return constant(op)
    return [
        op.axes(source) if tensor.shape == source.shape else op.positions(tensor.shape)
        for tensor in op.outputs
    ]


def uniform(op: Operation) -> Sequence[Axes]:
    """Return free axes: all entries are alike, however many there are."""
    return [op.trace.free(tensor.shape) for tensor in op.outputs]


OPERATORS: tuple[Operator, ...] = (
    *rows(("view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze"), view, entries="same"),
    Operator("permute", permute, entries="same"),
    *rows(("t", "transpose"), transpose, entries="same"),
    Operator("expand", expand, entries="same"),
    Operator("repeat", repeat),
    Operator("as_strided", as_strided),
    Operator("cat", cat),
    Operator("stack", stack),
    *rows(("split", "split_with_sizes"), split, entries="picked"),
    *rows(("unsafe_split", "unsafe_split_with_sizes"), split),
    Operator("constant_pad_nd", pad),
    Operator("glu", glu),
    *rows(("clone", "contiguous", "detach", "alias", "_to_copy"), same, entries="same"),
    *rows(("lift_fresh", "lift_fresh_copy", "log_sigmoid_forward", "zero", "fill"), same),
    *rows(("zeros_like", "ones_like", "full_like", "empty_like"), same),
    *rows(("rand_like", "randn_like"), same, draw=draws.like),
    *rows(("rand", "randn"), constant, draw=draws.new),
    Operator("native_dropout", same, draw=draws.dropout),
    Operator("bernoulli", same, draw=draws.bernoulli),
    Operator("bernoulli_", same, draw=draws.bernoulli_),
    *rows(("uniform", "normal", "exponential"), same),
    Operator("uniform_", same, draw=draws.uniform_),
    Operator("normal_", same, draw=draws.normal_),
    Operator("exponential_", same, draw=draws.exponential_),
    *rows(("zeros", "ones", "full", "empty", "empty_strided"), uniform),
    *rows(("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"), uniform),
)
