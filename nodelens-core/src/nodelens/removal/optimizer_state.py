"""Slicing of an optimizer's state along with its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.optim import LBFGS, Optimizer

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal
    from nodelens.removal.slicing import TensorCut


def slice_optimizer(optimizer: Optimizer, cuts: Sequence[TensorCut], journal: Journal) -> list[str]:
    """Slice the optimizer's state of every sliced parameter; return notes on state dropped.

    State of another shape than the parameter's (factored moments, a history of all parameters)
    is dropped, so that the optimizer starts it anew. The notes name the dropped state, and the
    optimizers that are not torch's: their state of the parameter's shape may mean something else.
    """
    if isinstance(optimizer, LBFGS):
        for parameter in list(optimizer.state):
            journal.remove_item(optimizer.state, parameter)
        journal.set_attribute(optimizer, "_numel_cache", None)
        return ["the optimizer's history starts anew: it runs over all parameters at once"]
    notes = [
        f"the optimizer's state of {cut.names[0]} starts anew: {stale} has another shape"
        for cut in cuts
        for tensor in cut.tensors
        if tensor in optimizer.state
        and (stale := _slice_state(optimizer, tensor, cut, journal)) is not None
    ]
    return [*notes, *_doubts(optimizer, cuts)]


def _doubts(optimizer: Optimizer, cuts: Sequence[TensorCut]) -> Iterator[str]:
    held = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    if not any(id(tensor) in held for cut in cuts for tensor in cut.tensors):
        yield "the optimizer holds no parameter that was sliced: is it the model's?"
    elif not type(optimizer).__module__.startswith("torch.optim"):
        name = type(optimizer).__name__
        yield f"state of {name}, not of torch, was sliced where it has the shape of its parameter"


def _slice_state(
    optimizer: Optimizer, tensor: Tensor, cut: TensorCut, journal: Journal
) -> str | None:
    """Slice the state of one parameter; return the entry for which all of the state was dropped."""
    state = optimizer.state[tensor]
    for key, value in state.items():
        if _stale(value, cut):
            journal.remove_item(optimizer.state, tensor)
            return str(key)
    for key, value in list(state.items()):
        if isinstance(value, Tensor) and value.ndim:
            journal.set_item(state, key, cut.applied(value))
    return None


def _stale(value: object, cut: TensorCut) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0 and tuple(value.shape) != cut.shape
    return isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value)
