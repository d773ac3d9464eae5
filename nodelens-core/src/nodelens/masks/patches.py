"""Replacement of masked nodes at one site, for one keep set or for one per copy of a batch."""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor

from nodelens.channels.groups import ChannelGroup, Rows, Site
from nodelens.channels.node_indices import numbers_of, places_along
from nodelens.errors import ModelError


@define(eq=False)
class MaskedForward:
    """The samples of one masked forward: their number, their copies, and their order in resampling.

    `rows` is 0 where the model's own inputs hold no tensor.
    """

    copies: int = 1
    generator: torch.Generator | None = None
    rows: int = 0
    orders: dict[int, Tensor] = field(factory=dict)

    def begin(self, rows: int) -> None:
        """Start a forward of `rows` samples, with new random orders."""
        self.rows = rows
        self.orders.clear()

    def order(self, rows: int) -> Tensor:
        """Return a random order of `rows`: one for all sites, and for all copies."""
        part = rows // self.copies
        if part not in self.orders:
            self.orders[part] = torch.randperm(part, generator=self.generator)
        start = torch.arange(self.copies).unsqueeze(1) * part
        return (start + self.orders[part]).flatten()


@frozen(eq=False)
class Patch:
    """The values that replace the nodes of one group that are not kept, at one site.

    `kept` is ``(copies, nodes)`` of bool and `fill` ``(nodes,)`` or ``(nodes, components)``; with a
    generator in `forward` the values of another sample replace the nodes instead.
    """

    site: Site
    group: ChannelGroup
    kept: Tensor
    fill: Tensor
    forward: MaskedForward

    def at_port(self, tensor: Tensor) -> Tensor:
        """Return the tensor of a module's input or output with the nodes replaced."""
        extents = [self.site.extent]
        places = places_along(tensor.shape[self.site.axis], extents)
        return self._replaced(tensor, self.site.axis, places, numbers_of(extents))

    def at_operand(self, tensor: Tensor, axis: int, indices: Tensor) -> Tensor:
        """Return the operand of a parameter with the nodes replaced; see `Act`."""
        extents = [
            part.extent
            for part in self.group.role("consumer")
            if (part.parameter, part.axis) == (self.site.argument, self.site.along)
        ]
        places = places_along(int(indices.max()) + 1, extents)[indices]
        if places.ndim == 2 and bool((places == places[:1]).all()):
            places = places[0]
        each = numbers_of(extents)
        if self.fill.ndim == 2 and self.site.stacked == self.site.axis:
            each = self.site.extent.count
            places = places_along(tensor.shape[axis], [self.site.extent])
        return self._replaced(tensor, axis, places, each)

    def _replaced(self, tensor: Tensor, axis: int, places: Tensor, each: int) -> Tensor:
        """Return the tensor with nodes replaced.

        `places` are those of the indices among all numbers of all nodes, `each` of a node; -1 for
        none.
        """
        axis %= tensor.ndim
        nodes = places.div(each, rounding_mode="floor")
        nobody = torch.zeros(len(self.kept), 1, dtype=torch.bool)
        gone = torch.cat([~self.kept, nobody], dim=1)[:, nodes].to(tensor.device)
        beside = self.site.numbers[0] if self.fill.ndim == 2 else 1
        values = by_place(self.fill, beside * each, self.site.name).cpu()
        values = values.reshape(len(values), beside, each).movedim(1, 0).flatten(1)
        values = torch.cat([values, values.new_zeros(beside, 1)], dim=1)
        fill = values[:, places].to(tensor.device, tensor.dtype)
        if len(gone) == 1 and self.forward.generator is None:
            shape = _spread(tensor, axis, nodes)
            return torch.where(gone[0].view(shape), self._laid(fill, tensor, axis), tensor)
        if nodes.ndim == 2:
            raise ModelError(f"{self.site.name}: its samples cannot be masked apart")
        return self._by_sample(tensor, axis, gone, fill)

    def _by_sample(self, tensor: Tensor, axis: int, gone: Tensor, fill: Tensor) -> Tensor:
        """Replace nodes whose choice, or whose replacement, differs from sample to sample."""
        rows, count = self._samples(tensor)
        if rows.axis % tensor.ndim == axis:
            raise ModelError(f"{self.site.name}: its samples and nodes share one axis")
        changed = tensor.clone(memory_format=torch.contiguous_format)
        apart = rows.first(changed, count)
        place = axis + (axis < rows.axis) + 1
        shape = [count, *(apart.shape[dim] if dim == place else 1 for dim in range(1, apart.ndim))]
        absent = gone.repeat_interleave(count // len(gone), dim=0).view(shape)
        source = rows.first(self._laid(fill, tensor, axis), 1)
        if self.forward.generator is not None:
            source = apart[self.forward.order(count).to(tensor.device)]
        apart.copy_(torch.where(absent, source, apart))
        return changed

    def _laid(self, fill: Tensor, tensor: Tensor, axis: int) -> Tensor:
        """Return what replaces the nodes, ``(stack, …)``, in a shape that fits the tensor."""
        nodes = fill.view(len(fill), *_spread(tensor, axis, fill[0]))
        if len(fill) == 1 or self.site.stacked is None:
            return nodes[0]
        return nodes.movedim(0, self.site.stacked).squeeze(self.site.stacked + 1)

    def _samples(self, tensor: Tensor) -> tuple[Rows, int]:
        """Return the axis of the samples, the first where unknown, and their number."""
        rows, count = self.site.rows, self.forward.rows
        if rows is not None and count and tensor.shape[rows.axis] % count == 0:
            return rows, count
        if self.forward.copies == 1 and self.site.end != "operand":
            return Rows(), len(tensor)
        raise ModelError(
            f"{self.group.name}: the samples cannot be distinguished at {self.site.name}, where a "
            f"tensor of shape {tuple(tensor.shape)} is read; infer the groups on an example of two "
            "samples or more, and mask one keep set at a time"
        )


def node_means(group: ChannelGroup, given: Any) -> Tensor:
    """Return the means of the nodes of a group, ``(nodes,)`` or ``(nodes, components)``.

    Raises `ModelError` for anything but finite numbers in one of these shapes.
    """
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{group.name}: expected the mean of each node, got {given!r}") from error
    fits = found.ndim in (1, 2) and len(found) == group.width
    if not fits or not (found.is_floating_point() or found.is_complex()):
        raise ModelError(
            f"{group.name}: expected the mean of each of {group.width} nodes, (nodes,) or "
            f"(nodes, components), got {tuple(found.shape)} of {found.dtype}"
        )
    if not found.isfinite().all():
        raise ModelError(f"{group.name}: the means of its nodes are not all finite")
    return found


def by_place(values: Tensor, count: int, site: str) -> Tensor:
    """Return the value of each number of each node at a site, ``(nodes, count)``.

    `values` are ``(nodes,)``, the same for all numbers, or ``(nodes, components)``. Raises
    `ModelError` where a node has other components than numbers at the site.
    """
    if values.ndim == 1:
        return values.detach().unsqueeze(1).expand(-1, count)
    if values.shape[1] != count:
        raise ModelError(
            f"{site} reads {count} numbers of a node, and there are means of {values.shape[1]}"
        )
    return values.detach()


def _spread(tensor: Tensor, axis: int, nodes: Tensor) -> list[int]:
    """Return the shape in which `nodes` broadcast over the tensor."""
    shape = [1] * tensor.ndim
    shape[axis] = nodes.shape[-1]
    if nodes.ndim == 2:
        shape[0] = nodes.shape[0]
    return shape
