"""A dispatch mode that infers the axes of the result of every ATen operator of a forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nodelens.channels.rules.arithmetic import pointwise
from nodelens.channels.rules.data_dependence import keeps_entries, provenance
from nodelens.channels.rules.operation import Operation, constant, unknown
from nodelens.channels.rules.selection import counts_up
from nodelens.interfaces.operator import Operators, row_of

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes
    from nodelens.channels.trace import Root, Trace, Traced


class AxisMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Performs every operator of a forward and infers the axes of the tensors returned.

    With `fake`, operators that torch cannot perform without data are performed by their stand-ins.
    """

    def __init__(self, trace: Trace, operators: Operators, fake: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = trace
        self.operators = operators
        self.fake = fake

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, row = kwargs or {}, row_of(self.operators, func)
        strides = args[0].stride() if args and isinstance(args[0], Tensor) else ()
        perform = row.fake if self.fake and row and row.fake else func
        results = perform(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
        if outputs:
            _infer(Operation(self.trace, func, args, kwargs, outputs, strides, row))
        return results


def _infer(op: Operation) -> None:
    """Infer and record the axes of the tensors that `op` returned."""
    trace = op.trace
    tensors = list(op.tensors())
    inputs = [trace.of(tensor) for tensor in tensors]
    trace.used.update(*(known.parameters for known in inputs))
    value = _value(op, tensors)
    source = provenance(op, tensors)
    if source.chosen:
        homes = [trace.homes[each.value] for each in inputs if each.value in trace.homes]
        trace.homes[value] = homes[0] if homes else trace.module
    results, counted = _results(op, inputs), counts_up(op)
    root = _note_uses(op, tensors) if trace.evaluated else None
    varied = _varied(op, tensors) if source.data and trace.evaluated else ""
    known = evolve(source, value=value, counted=counted, root=root, varied=varied)
    for tensor, axes in zip(op.outputs, results, strict=True):
        trace.tensors[tensor] = evolve(known, axes=axes)
    _note_writes(op, source.data)


def _note_uses(op: Operation, tensors: Sequence[Tensor]) -> Root | None:
    """Record an operator without data, or its weights; return the root of what it returned.

    An operator that moves entries of one tensor, or looks them up by data, keeps the tensor's root.
    """
    trace = op.trace
    weights = [tensor for tensor in tensors if trace.of(tensor).parameters]
    data = any(trace.is_data(tensor) for tensor in tensors)
    if data:
        for tensor in weights:
            trace.note_use(tensor)
    else:
        trace.recording.add(op.function, op.args, op.kwargs, op.outputs)
    moves = (keeps_entries(op) and (data or len(tensors) == 1)) or op.name == "embedding"
    if not weights or weights[0] is not tensors[0] or not moves:
        return None
    same = all(output.dtype == tensors[0].dtype for output in op.outputs)
    return trace.root(tensors[0]) if same else None


def _varied(op: Operation, tensors: Sequence[Tensor]) -> str:
    """Return the parameter that a result of data holds entries of, each changed by the data.

    A tensor with an axis of samples is an activation instead.
    """
    changed = torch.Tag.pointwise in op.function.tags
    if not changed and not keeps_entries(op):
        return ""
    names = [op.trace.of(tensor).varied for tensor in tensors]
    for tensor in tensors if changed and op.output.ndim > 1 else ():
        if tensor.shape == op.output.shape and not op.trace.is_data(tensor):
            names.extend(sorted(op.trace.of(tensor).parameters))
    sampled = any(names) and any(op.trace.has_samples(tensor) for tensor in tensors)
    return "" if sampled else next(filter(None, names), "")


def _results(op: Operation, inputs: Sequence[Traced]) -> list[Axes]:
    """Return the axes of every tensor returned; axes that a rule leaves out are positions."""
    results = list(_by_rule(op, inputs))
    results += [op.positions(tensor.shape) for tensor in op.outputs[len(results) :]]
    fits = all(
        tuple(axis.size for axis in axes) == tuple(tensor.shape)
        for axes, tensor in zip(results, op.outputs, strict=True)
    )
    return results if fits else list(unknown(op, inputs))


def _by_rule(op: Operation, inputs: Sequence[Traced]) -> Sequence[Axes]:
    if op.operator is not None:
        return op.operator.rule(op)
    if not inputs:
        return constant(op)
    return pointwise(op) if torch.Tag.pointwise in op.function.tags else unknown(op, inputs)


def _value(op: Operation, inputs: Sequence[Tensor]) -> int:
    """Return the value number of the result: a new one, or the input's for a view of all of it."""
    entries = op.operator.entries if op.operator else None
    if not inputs or entries not in ("same", "picked"):
        return op.trace.tick()
    source = op.trace.value(inputs[0])
    if entries == "same":
        return source
    picked = op.trace.tick()
    op.trace.picked[picked] = source
    return picked


def _note_writes(op: Operation, data: bool) -> None:
    """Record which storages an operator has written in place."""
    for argument, tensor in zip(op.function._schema.arguments, op.args, strict=False):
        if argument.alias_info and argument.alias_info.is_write and isinstance(tensor, Tensor):
            op.trace.note_write(tensor, data)
