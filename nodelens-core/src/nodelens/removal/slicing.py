"""Slicing of parameters and buffers to the indices that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice
from nodelens.channels.node_indices import owned_indices
from nodelens.errors import ModelError
from nodelens.masks.kept_nodes import Keep, Nodes, kept_nodes

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal


@frozen(eq=False)
class Change:
    """A group that loses nodes: `kept` is ``(nodes,)`` of bool."""

    group: ChannelGroup
    kept: Tensor

    @property
    def left(self) -> int:
        """The number of nodes that are kept."""
        return int(self.kept.sum())

    def dropped(self, part: ParameterSlice) -> Tensor:
        """Return the indices of one slice that are removed."""
        return owned_indices(part.extent)[~self.kept].flatten()


@frozen(eq=False)
class TensorCut:
    """The kept indices, per axis, of one parameter or buffer of an old shape.

    `tensors` are all objects that share its memory, and `names` all names of these.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]
    kept: Mapping[int, Tensor]

    def applied(self, tensor: Tensor) -> Tensor:
        """Return the kept part of a tensor of the old shape, with its memory format."""
        part = tensor
        for axis, indices in self.kept.items():
            part = part.index_select(axis, indices.to(tensor.device))
        last = torch.channels_last
        if tensor.ndim == 4 and tensor.is_contiguous(memory_format=last):
            return part if tensor.is_contiguous() else part.contiguous(memory_format=last)
        return part

    def zeroed(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of the old shape with zeros in the part that is removed."""
        part = tensor.clone()
        for axis, indices in self.kept.items():
            gone = torch.ones(self.shape[axis], dtype=torch.bool)
            gone[indices] = False
            part.movedim(axis, 0)[gone.to(tensor.device)] = 0
        return part


def changes(graph: ChannelGraph, keep: Keep) -> list[Change]:
    """Return the groups that lose nodes; groups that are kept whole are left out.

    Raises `UnknownNameError` for unknown groups, `ModelError` for frozen ones, for indices out of
    range and where no node would be kept.
    """
    found = [_change(graph[name], kept) for name, kept in keep.items()]
    return [change for change in found if change.left < change.group.width]


def _change(group: ChannelGroup, kept: Nodes) -> Change:
    change = Change(group, kept_nodes(group, kept))
    if change.left == 0:
        raise ModelError(f"{group.name}: at least one of its {group.width} nodes must be kept")
    if change.left < group.width and not group.prunable:
        raise ModelError(f"{group.name} is frozen, no node can be removed: {group.frozen}")
    return change


def cuts(model: nn.Module, found: Sequence[Change]) -> list[TensorCut]:
    """Return the cut of every tensor that the changes touch; tied tensors appear once."""
    named = _named(model)
    dropped: dict[object, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for change in found:
        for part in change.group.slices:
            tensor, indices = named.get(part.parameter), change.dropped(part)
            if tensor is None or int(indices.max()) >= tensor.shape[part.axis]:
                raise ModelError(
                    f"{change.group.name}: {part.parameter} does not have the shape for which the "
                    "groups were inferred; infer the groups of this model again"
                )
            dropped[_memory(tensor)][part.axis].append(indices)
    names: dict[object, list[str]] = defaultdict(list)
    for name, tensor in named.items():
        names[_memory(tensor)].append(name)
    return [_cut(names[key], named, axes) for key, axes in dropped.items()]


def _cut(
    names: Sequence[str], named: Mapping[str, Tensor], dropped: Mapping[int, Sequence[Tensor]]
) -> TensorCut:
    objects = {id(named[name]): named[name] for name in names}
    shape = tuple(named[names[0]].shape)
    kept = {axis: _complement(shape[axis], torch.cat(list(gone))) for axis, gone in dropped.items()}
    return TensorCut(tuple(objects.values()), tuple(names), shape, kept)


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _memory(tensor: Tensor) -> object:
    """Return a key that is equal for tied tensors: one object, or two views of one memory."""
    place = (tensor.untyped_storage()._cdata, tensor.storage_offset())
    return (*place, tuple(tensor.shape), tensor.stride())


def _complement(size: int, dropped: Tensor) -> Tensor:
    stays = torch.ones(size, dtype=torch.bool)
    stays[dropped] = False
    return stays.nonzero().flatten()


def slice_tensors(cut: Sequence[TensorCut], journal: Journal) -> None:
    """Slice every tensor and its gradient; objects are kept, and tied tensors stay tied."""
    for each in cut:
        data = each.applied(each.tensors[0].data)
        for tensor in each.tensors:
            grad = tensor.grad
            if grad is not None:
                journal.set_grad(tensor, None)
            journal.set_data(tensor, data)
            if grad is not None:
                journal.set_grad(tensor, each.applied(grad))
