"""Whether the result of an operator depends on the model's input, and on which parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nodelens.channels.trace import Traced

if TYPE_CHECKING:
    from nodelens.channels.rules.operation import Operation


def provenance(op: Operation, tensors: Sequence[Tensor]) -> Traced:
    """Return the record of an operator's result, without axes, from those of its arguments.

    Chosen entries of a parameter stay a weight while they are only moved or combined with other
    parameters; an operator that does more uses them as data.
    """
    trace = op.trace
    moved = _moved(op, tensors)
    parameters = frozenset[str]().union(*(trace.of(tensor).parameters for tensor in tensors))
    if not any(trace.is_data(tensor) for tensor in tensors):
        return Traced((), parameters=parameters, moved=moved)
    if keeps_entries(op) and _learned(op, tensors[0]):
        return Traced((), True, trace.of(tensors[0]).parameters, chosen=True, moved=moved)
    if _is_pointwise(op) and all(_learned(op, t) or not trace.is_data(t) for t in tensors):
        return Traced((), True, parameters, chosen=True, moved=moved)
    for tensor in _used_as_data(op, tensors):
        if trace.of(tensor).chosen:
            op.looks_up(tensor)
    return Traced((), data=True)


def _used_as_data(op: Operation, tensors: Iterable[Tensor]) -> Iterable[Tensor]:
    """Return the arguments that an operator uses as data; a product's rule finds its weights."""
    operands = op.operator.operands if op.operator else ()
    if not operands:
        return tensors
    weights = {operand.weight for operand in operands}
    return [op.args[each.argument] for each in operands if each.argument not in weights]


def _learned(op: Operation, tensor: Tensor) -> bool:
    """Whether a tensor is a weight that depends on some parameter, not on buffers alone."""
    return op.is_weight(tensor) and bool(op.trace.of(tensor).parameters - op.trace.buffers)


def _moved(op: Operation, tensors: Sequence[Tensor]) -> frozenset[str]:
    """Return the parameters whose entries are still located in the result."""
    if not tensors:
        return frozenset()
    if keeps_entries(op):
        return op.trace.of(tensors[0]).moved
    if _is_pointwise(op):
        return frozenset[str]().union(*(op.trace.of(tensor).moved for tensor in tensors))
    return frozenset()


def keeps_entries(op: Operation) -> bool:
    """Whether an operator returns entries of its first argument, moved at most."""
    return op.operator is not None and op.operator.entries is not None


def _is_pointwise(op: Operation) -> bool:
    return torch.Tag.pointwise in op.function.tags
