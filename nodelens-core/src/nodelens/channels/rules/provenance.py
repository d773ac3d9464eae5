"""What the result of an operator holds of the model's input and of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nodelens.channels.rules.operation import PICKS, VIEWS, Operation
from nodelens.channels.trace import Traced

# What returns entries of its first argument, moved or repeated, whatever its other arguments are.
LOOKUPS = frozenset(["index", "_unsafe_index", "index_select", "gather"])
MOVES = VIEWS | PICKS | LOOKUPS | frozenset(["unbind", "flip", "roll"])

# What multiplies a weight with data: there a parameter's chosen entries are not data.
PRODUCTS = frozenset(["mm", "bmm", "addmm", "baddbmm", "mv", "dot", "vdot", "addmv", "convolution"])


def provenance(op: Operation, tensors: Sequence[Tensor]) -> Traced:
    """Return, without axes, what is known of the result from what is known of the arguments.

    Chosen entries of a parameter stay a weight while they are only moved or combined with other
    parameters; an operator that does more uses them as data.
    """
    trace = op.trace
    moved = _moved(op, tensors)
    parameters = frozenset[str]().union(*(trace.of(tensor).parameters for tensor in tensors))
    if not any(trace.is_data(tensor) for tensor in tensors):
        return Traced((), parameters=parameters, moved=moved)
    if op.name in MOVES and _learned(op, tensors[0]):
        return Traced((), True, trace.of(tensors[0]).parameters, chosen=True, moved=moved)
    if _is_pointwise(op) and all(_learned(op, t) or not trace.is_data(t) for t in tensors):
        return Traced((), True, parameters, chosen=True, moved=moved)
    for tensor in tensors if op.name not in PRODUCTS else ():
        if trace.of(tensor).chosen:
            op.looks_up(tensor)
    return Traced((), data=True)


def _learned(op: Operation, tensor: Tensor) -> bool:
    """Whether a tensor is a weight of which some parameter, not only buffers, is a part."""
    return op.is_weight(tensor) and bool(op.trace.of(tensor).parameters - op.trace.buffers)


def _moved(op: Operation, tensors: Sequence[Tensor]) -> frozenset[str]:
    """Return the parameters of which every entry of the result can still be told."""
    if not tensors:
        return frozenset()
    if op.name in MOVES:
        return op.trace.of(tensors[0]).moved
    if _is_pointwise(op):
        return frozenset[str]().union(*(op.trace.of(tensor).moved for tensor in tensors))
    return frozenset()


def _is_pointwise(op: Operation) -> bool:
    return torch.Tag.pointwise in op.function.tags
