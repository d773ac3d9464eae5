"""Rules for operators that pick or place indices: slices, look-ups, gathers, sorts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nodelens.interfaces.operator import Operator, rows

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes
    from nodelens.channels.rules.operation import Operation


def slice_(op: Operation) -> Sequence[Axes]:
    """Keep one run of an axis; a step freezes it."""
    source = op.args[0]
    dim = op.argument(1, "dim", 0) % source.ndim
    axes, size, length = op.axes(source), source.shape[dim], op.output.shape[dim]
    middle = axes[dim]
    if op.argument(4, "step", 1) != 1 or not length:
        op.freeze([middle], "sliced with a step")
        return [(*axes[:dim], *op.positions((length,)), *axes[dim + 1 :])]
    start = op.argument(2, "start", 0) or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    if start > 0:
        _, middle = op.split(middle, start)
    if length < middle.size:
        middle, _ = op.split(middle, length)
    return [(*axes[:dim], middle, *axes[dim + 1 :])]


def select(op: Operation) -> Sequence[Axes]:
    """Drop an axis of which one index is taken; it is frozen."""
    dim = op.args[1] % op.args[0].ndim
    axes = op.axes(op.args[0])
    op.freeze([axes[dim]], "one index is selected")
    op.mixes([axes[dim]], "one index is selected")
    return [(*axes[:dim], *axes[dim + 1 :])]


def unbind(op: Operation) -> Sequence[Axes]:
    """Drop an axis that is taken apart index by index; it is frozen."""
    dim = op.argument(1, "dim", 0) % op.args[0].ndim
    axes = op.axes(op.args[0])
    op.freeze([axes[dim]], "taken apart index by index")
    op.mixes([axes[dim]], "taken apart index by index")
    return [(*axes[:dim], *axes[dim + 1 :]) for _ in op.outputs]


def moved(op: Operation) -> Sequence[Axes]:
    """Freeze axes whose indices change place (``flip``, ``roll``); none named means all."""
    axes = op.axes(op.args[0])
    dims = op.argument(2, "dims", ()) if op.name == "roll" else op.argument(1, "dims", ())
    chosen = {dim % len(axes) for dim in dims} if dims else set(range(len(axes)))
    moved = [axes[dim] for dim in sorted(chosen)]
    op.freeze(moved, f"indices change place ({op.name})")
    op.mixes(moved, f"indices change place ({op.name})")
    return [axes]


def gather(op: Operation) -> Sequence[Axes]:
    """Look up along one axis, which is frozen; the others follow the index."""
    source, dim, index = op.args[:3]
    axes, wanted = op.axes(source), op.axes(index)
    for position in range(source.ndim):
        if position == dim % source.ndim or axes[position].size != wanted[position].size:
            op.freeze([axes[position]], "looked up by index")
        else:
            op.unify(axes[position], wanted[position])
    return [wanted]


def scatter(op: Operation) -> Sequence[Axes]:
    """Place along one axis, which is frozen; the others are unified with those placed."""
    target, dim = op.args[0], op.args[1] % max(op.args[0].ndim, 1)
    axes = op.axes(target)
    op.freeze(axes[dim : dim + 1], "placed by index")
    for tensor in list(op.tensors())[1:]:
        placed = op.axes(tensor)
        for position, axis in enumerate(placed):
            fits = len(placed) == len(axes) and axis.size == axes[position].size
            if fits and position != dim:
                op.unify(axis, axes[position])
            else:
                op.freeze([axis], "placed by index")
    return [axes]


def index_select(op: Operation) -> Sequence[Axes]:
    """Pick indices of one axis, which is frozen; the result follows the index."""
    source, dim, index = op.args[:3]
    axes, dim = op.axes(source), dim % source.ndim
    op.freeze([axes[dim]], "picked by index")
    return [(*axes[:dim], *op.axes(index), *axes[dim + 1 :])]


def index(op: Operation) -> Sequence[Axes]:
    """Pick by index tensors or masks: indexed axes are frozen, the others are kept.

    Picks by one tensor of indices have the axes of that tensor. An axis that is picked by all of
    its indices in order, as the samples of ``h[arange(rows), last]``, is kept.
    """
    source: Tensor = op.args[0]
    axes = op.axes(source)
    kept, first, adjacent = _indexed(op, op.args[1])
    count = op.output.ndim - len(kept)
    at = sum(dim < first for dim in kept) if adjacent else 0
    given = [tensor for tensor in op.args[1] if tensor is not None]
    found = op.positions(op.output.shape[at : at + count])
    if len(given) == 1 and given[0].dtype != torch.bool:
        found = op.axes(given[0])
    found = _kept_in_order(op, found)
    left, right = kept[:at], kept[at:]
    return [(*(axes[dim] for dim in left), *found, *(axes[dim] for dim in right))]


def _kept_in_order(op: Operation, found: Axes) -> Axes:
    """Return the axes of the picks, with those of the source that are picked in their order."""
    kept, dim = list(found), 0
    for tensor in op.args[1]:
        if tensor is not None and tensor.numel() == op.args[0].shape[dim]:
            place = len(kept) - tensor.ndim + _longest(tensor)
            in_order = tensor.ndim and op.trace.is_counted(tensor)
            if in_order and kept[place].size == tensor.numel():
                kept[place] = op.axes(op.args[0])[dim]
        dim += tensor.ndim if tensor is not None and tensor.dtype == torch.bool else 1
    return tuple(kept)


def _longest(tensor: Tensor) -> int:
    return max(range(tensor.ndim), key=lambda dim: (tensor.shape[dim], dim), default=0)


def counts_up(op: Operation) -> bool:
    """Return whether an operator returns 0, 1, 2, … along one axis, as ``arange`` does."""
    if op.output.dtype not in (torch.int32, torch.int64):
        return False
    if op.name == "arange":
        start, step = (op.args[0], op.args[2:]) if len(op.args) > 1 else (0, ())
        return start == 0 and tuple(step) in ((), (1,))
    source = op.args[0] if op.args else None
    if not isinstance(source, Tensor) or source.numel() != op.output.numel():
        return False
    if op.name.startswith("lift_fresh"):
        known = type(source) is Tensor and source.ndim == 1 and not source.is_meta
        return known and source.tolist() == list(range(len(source)))
    keeps = op.operator is not None and op.operator.entries == "same"
    return keeps and op.trace.is_counted(source)


def _indexed(op: Operation, indices: Sequence[Tensor | None]) -> tuple[list[int], int, bool]:
    """Freeze indexed axes; return the others, the first indexed, and whether they are adjacent."""
    source: Tensor = op.args[0]
    axes, used, dim = op.axes(source), list[int](), 0
    for tensor in indices:
        span = tensor.ndim if tensor is not None and tensor.dtype == torch.bool else 1
        if tensor is not None:
            used.extend(range(dim, dim + span))
            op.freeze(op.axes(tensor), "used as an index")
        dim += span
    op.freeze([axes[each] for each in used], "picked by index")
    kept = [each for each in range(source.ndim) if each not in used]
    return kept, used[0], used == list(range(used[0], used[-1] + 1))


def index_put(op: Operation) -> Sequence[Axes]:
    """Place values by index tensors: indexed axes are frozen, trailing axes are unified."""
    target, indices, values = op.args[:3]
    axes, placed = op.axes(target), op.axes(values)
    kept, first, adjacent = _indexed(op, indices)
    trailing = len(kept) if first == 0 and adjacent else 0
    if not trailing:
        op.freeze(axes, "placed by index")
    for position in range(1, len(placed) + 1):
        follows = position <= trailing and placed[-position].size == axes[-position].size
        if follows:
            op.unify(placed[-position], axes[-position])
        else:
            op.freeze([placed[-position]], "placed by index")
    return [axes]


def ordered(op: Operation) -> Sequence[Axes]:
    """Freeze the axis whose indices are put in order of their values (``sort``, ``topk``)."""
    source: Tensor = op.args[0]
    axes = op.axes(source)
    position = 2 if op.name in ("topk", "kthvalue") else 1
    dim = op.argument(position, "dim", -1)
    if isinstance(dim, bool) or not isinstance(dim, int):  # sort.stable names it by keyword
        dim = op.kwargs.get("dim", -1)
    dim %= max(source.ndim, 1)
    op.freeze(axes[dim : dim + 1], f"put in order ({op.name})")
    if op.output.ndim != source.ndim:
        return [(*axes[:dim], *axes[dim + 1 :]) for _ in op.outputs]
    return [
        (*axes[:dim], *op.positions(tensor.shape[dim : dim + 1]), *axes[dim + 1 :])
        for tensor in op.outputs
    ]


def examined(op: Operation) -> Sequence[Axes]:
    """Freeze all axes of tensors whose entries are counted, searched or picked one by one."""
    for tensor in op.tensors():
        op.freeze(op.axes(tensor), f"entries are examined one by one ({op.name})")
    return [op.positions(tensor.shape) for tensor in op.outputs]


OPERATORS: tuple[Operator, ...] = (
    Operator("slice", slice_, entries="picked"),
    Operator("select", select, entries="picked"),
    Operator("unbind", unbind, entries="moved"),
    *rows(("flip", "roll"), moved, entries="moved"),
    Operator("gather", gather, entries="moved"),
    *rows(("scatter", "scatter_add", "scatter_reduce"), scatter),
    *rows(("index_add", "index_copy", "index_fill"), scatter),
    Operator("index_select", index_select, entries="picked"),
    *rows(("index", "_unsafe_index"), index, entries="picked"),
    *rows(("index_put", "_unsafe_index_put"), index_put),
    *rows(("sort", "argsort", "topk", "kthvalue", "median", "mode"), ordered),
    *rows(("nonzero", "histc", "bincount", "_unique2", "unique_consecutive"), examined),
    *rows(("unique_dim", "masked_select", "masked_scatter", "multinomial"), examined),
    *rows(("searchsorted", "bucketize", "repeat_interleave", "take", "put", "equal"), examined),
    Operator("isin", examined),
)
