"""Which indices of every parameter and buffer stay, and the slicing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from attrs import frozen
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice
from nodelens.channels.journal import Journal
from nodelens.errors import ModelError
from nodelens.masks.context import kept_nodes


@frozen(eq=False)
class Change:
    """A group that loses nodes: `kept` is ``(nodes,)`` of bool."""

    group: ChannelGroup
    kept: Tensor

    @property
    def left(self) -> int:
        """How many nodes stay."""
        return int(self.kept.sum())

    def dropped(self, part: ParameterSlice) -> Tensor:
        """Return the indices of one slice that go."""
        return torch.tensor(part.extent.indices())[~self.kept].flatten()


@frozen(eq=False)
class Cut:
    """One parameter or buffer, every name that it has, its old shape, and what stays per axis."""

    tensor: Tensor
    names: tuple[str, ...]
    shape: tuple[int, ...]
    kept: Mapping[int, Tensor]

    def applied(self, tensor: Tensor) -> Tensor:
        """Return the part of a tensor of the old shape that stays, in the same memory format."""
        part = tensor
        for axis, indices in self.kept.items():
            part = part.index_select(axis, indices.to(tensor.device))
        last = torch.channels_last
        if tensor.ndim == 4 and tensor.is_contiguous(memory_format=last):
            return part if tensor.is_contiguous() else part.contiguous(memory_format=last)
        return part


def changes(graph: ChannelGraph, keep: Mapping[str, Sequence[int] | Tensor]) -> list[Change]:
    """Return the groups that lose nodes; groups of which all stay are left out.

    Raises `UnknownNameError` for unknown groups, `ModelError` for frozen ones, for indices that do
    not fit and where no node would stay.
    """
    found = [_change(graph[name], kept) for name, kept in keep.items()]
    return [change for change in found if change.left < change.group.width]


def _change(group: ChannelGroup, kept: Sequence[int] | Tensor) -> Change:
    change = Change(group, kept_nodes(group, kept))
    if change.left == 0:
        raise ModelError(f"{group.name}: at least one of its {group.width} nodes must stay")
    if change.left < group.width and not group.prunable:
        raise ModelError(f"{group.name} is frozen, no node can be removed: {group.frozen}")
    return change


def cuts(model: nn.Module, found: Sequence[Change]) -> list[Cut]:
    """Return what stays of every tensor that the changes touch; tied tensors appear once."""
    names, tensors = _tensors(model)
    dropped: dict[int, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for change in found:
        for part in change.group.slices:
            tensor = tensors.get(part.parameter)
            indices = change.dropped(part)
            if tensor is None or int(indices.max()) >= tensor.shape[part.axis]:
                raise ModelError(
                    f"{change.group.name}: {part.parameter} does not have the shape for which the "
                    "groups were inferred; infer the groups of this model again"
                )
            dropped[id(tensor)][part.axis].append(indices)
    unique = {id(tensor): tensor for tensor in tensors.values()}
    return [
        Cut(
            tensor=unique[key],
            names=tuple(names[key]),
            shape=tuple(unique[key].shape),
            kept={
                axis: _complement(unique[key].shape[axis], torch.cat(gone))
                for axis, gone in axes.items()
            },
        )
        for key, axes in dropped.items()
    ]


def _tensors(model: nn.Module) -> tuple[dict[int, list[str]], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    names: dict[int, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        names[id(tensor)].append(name)
    return names, tensors


def _complement(size: int, dropped: Tensor) -> Tensor:
    stays = torch.ones(size, dtype=torch.bool)
    stays[dropped] = False
    return stays.nonzero().flatten()


def slice_tensors(cut: Sequence[Cut], journal: Journal) -> None:
    """Slice every tensor and its gradient; the objects stay."""
    for each in cut:
        grad = each.tensor.grad
        if grad is not None:
            journal.set_grad(each.tensor, None)
        journal.set_data(each.tensor, each.applied(each.tensor.data))
        if grad is not None:
            journal.set_grad(each.tensor, each.applied(grad))


def slice_optimizer(
    optimizer: torch.optim.Optimizer, cut: Sequence[Cut], journal: Journal
) -> list[str]:
    """Slice the optimizer's state of every sliced parameter; return what could not be carried.

    State of another shape than the parameter's (factored moments, a history of all parameters)
    is dropped, so that the optimizer starts it anew, and named in the notes.
    """
    if isinstance(optimizer, torch.optim.LBFGS) and cut:
        for parameter in list(optimizer.state):
            journal.remove_item(optimizer.state, parameter)
        return ["the optimizer's history starts anew: it runs over all parameters at once"]
    return [
        f"the optimizer's state of {each.names[0]} starts anew: {stale} has another shape"
        for each in cut
        if each.tensor in optimizer.state
        and (stale := _slice_state(optimizer, each, journal)) is not None
    ]


def _slice_state(optimizer: torch.optim.Optimizer, cut: Cut, journal: Journal) -> str | None:
    """Slice the state of one parameter; return the entry for which all of it was dropped."""
    state = optimizer.state[cut.tensor]
    for key, value in state.items():
        if _stale(value, cut):
            journal.remove_item(optimizer.state, cut.tensor)
            return str(key)
    for key, value in list(state.items()):
        if isinstance(value, Tensor) and value.ndim:
            journal.set_item(state, key, cut.applied(value))
    return None


def _stale(value: object, cut: Cut) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0 and tuple(value.shape) != cut.shape
    return isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value)
