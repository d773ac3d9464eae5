"""The weights that write and read the nodes of one group, as a whole or in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.scoring.producers import Producer, producer_of, slices_written_by

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import ChannelGroup, ParameterSlice, Role

TILE = 2**20
"""Entries of a weight that are converted to float64 at once."""

_REASONS: Mapping[str, str] = {
    "producer": "no parameter writes these nodes",
    "consumer": "no parameter reads these nodes",
}


@frozen(eq=False)
class GroupWeights:
    """The weights of one group: what a `WeightReduction` is computed from."""

    group: ChannelGroup
    parameters: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]

    @property
    def width(self) -> int:
        """The number of nodes."""
        return self.group.width

    def parts(self, role: Role) -> tuple[ParameterSlice, ...]:
        """Return the slices of one role; raises `NotApplicableError` if no weight has it."""
        found = self.group.weights(role)
        if not found and role in _REASONS:
            raise NotApplicableError(_REASONS[role])
        return found

    def either(self) -> tuple[ParameterSlice, ...]:
        """Return the slices that write or read the nodes, those of a weight that does both once.

        Raises `NotApplicableError` if there is none.
        """
        found = self.group.weights("producer") + self.group.weights("consumer")
        if not found:
            raise NotApplicableError("no weight writes or reads these nodes")
        return tuple({(part.parameter, part.axis, part.extent): part for part in found}.values())

    def tiles(self, part: ParameterSlice) -> Iterator[tuple[slice, Tensor]]:
        """Yield the entries of a weight in float64, a bounded number at a time, with their nodes.

        Every tile is ``(entries, rows, nodes)``: a node has one row for each index of the axis that
        it owns, such as the dimensions of a head. Tiles of the same nodes hold different entries.
        """
        found = self._rows_last(part)
        nodes, size = self.width, max(1, found.numel())
        if part.axis == 0 or found.ndim == 4:
            step = max(1, TILE * nodes // size)
            pieces = [(slice(n, n + step), found[..., n : n + step]) for n in range(0, nodes, step)]
        else:
            step = max(1, TILE * len(found) // size)
            pieces = [(slice(0, nodes), piece) for piece in torch.split(found, step)]
        for place, piece in pieces:
            shape = (-1, piece.shape[-4:-1].numel(), piece.shape[-1])
            yield place, piece.double().reshape(shape)

    def runs_of(self, part: ParameterSlice) -> int:
        """Return the number of runs of a node's rows whose entries belong to different outputs.

        Such as the groups of a convolution, or the experts of a stack unless one product sums over
        all of them. The rows of a run follow each other.
        """
        sites = self.group.at("activation")
        summed = part.stacked is not None and all(site.numbers[0] == 1 for site in sites)
        return 1 if summed else self._rows_last(part).shape[-4]

    def rows_of(self, part: ParameterSlice) -> Tensor:
        """Return all entries of a weight, ``(nodes, rows, entries)`` float64."""
        found = self._rows_last(part).movedim(-1, 0)
        return found.flatten(-3).movedim(-1, 1).flatten(2).double()

    def _rows_last(self, part: ParameterSlice) -> Tensor:
        """Return a view ``(…, groups, outer, inner, nodes)`` of a weight.

        A channel of every group of a grouped convolution is read by the outputs of its own group,
        and so is a node of every expert of a stack by those of its own expert.
        """
        weight, groups = self._weight(part), getattr(self.modules.get(part.module), "groups", 1)
        if part.stacked is not None:
            place = part.stacked - (part.stacked > part.axis)
            return part.extent.nodes_last(weight, part.axis).movedim(place, -4)
        if groups == 1 or part.axis != 1:
            return part.extent.nodes_last(weight, part.axis).unsqueeze(-4)
        apart = weight.reshape(groups, -1, *weight.shape[1:])
        return part.extent.nodes_last(apart, 2).movedim(0, -4)

    def written_by(self, name: str | None = None) -> Producer:
        """Return the rows of one weight that write each node, see `GroupView.written_by`."""
        return producer_of(slices_written_by(self.group, name), self.parameters, self.modules)

    def _weight(self, part: ParameterSlice) -> Tensor:
        return self.parameters[part.parameter].detach()
