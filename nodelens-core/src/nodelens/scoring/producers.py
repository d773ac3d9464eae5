"""The rows of one weight that write the nodes of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch.nn.modules.conv import _ConvNd

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import ChannelGroup, ParameterSlice


@frozen(eq=False)
class Producer:
    """The rows of one weight that write each node of a group.

    `parts` are the slices of the weight, whose values are `stored`. A row reads one of `blocks`
    runs of input features, the only one but for grouped convolutions.
    """

    module: str
    parts: tuple[ParameterSlice, ...]
    stored: Tensor
    blocks: int = 1

    @property
    def rows_per_node(self) -> int:
        """The number of rows that write one node."""
        return sum(part.extent.inner * part.extent.outer for part in self.parts)

    @cached_property
    def rows(self) -> Tensor:
        """The rows of each node, ``(nodes, rows, fan_in)`` float64.

        The last axis is in the order of the features that the module's input is unfolded to.
        """
        return torch.cat([_rows(part, self.stored) for part in self.parts], dim=1)

    @cached_property
    def block(self) -> Tensor:
        """The run of input features that each row reads, ``(nodes, rows)`` int64."""
        index = torch.cat([torch.tensor(part.extent.indices()) for part in self.parts], dim=1)
        return index.to(self.stored.device) * self.blocks // self.stored.shape[self.parts[0].axis]

    @property
    def weight(self) -> Tensor:
        """The rows of all nodes in one matrix, node by node, ``(nodes · rows, fan_in)``."""
        return self.rows.flatten(0, 1)


def slices_written_by(group: ChannelGroup, name: str | None) -> list[ParameterSlice]:
    """Return the slices of the one weight that writes the nodes, or of the weight called `name`.

    `name` is the path of a module or a parameter, or the last parts of it. Raises
    `NotApplicableError` unless exactly one weight answers to it.
    """
    weights: dict[str, list[ParameterSlice]] = {}
    for part in group.weights("producer"):
        weights.setdefault(part.parameter, []).append(part)
    if not weights:
        raise NotApplicableError("no parameter writes these nodes")
    chosen = [weight for weight in weights if name is None or _answers(weight, name)]
    if len(chosen) == 1:
        return weights[chosen[0]]
    if not chosen:
        known = ", ".join(weights)
        raise NotApplicableError(f"no weight called {name} writes these nodes, but {known}")
    raise NotApplicableError(
        f"{len(chosen)} weights write these nodes: {', '.join(chosen)}; metrics with the option "
        "'producer' take the name of one"
    )


def _answers(parameter: str, name: str) -> bool:
    """Return whether `name` means a parameter, or the module whose weight it is."""
    path = f".{parameter}"
    return path.endswith((f".{name}", f".{name}.weight"))


def producer_of(
    parts: Sequence[ParameterSlice],
    parameters: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
) -> Producer:
    """Return the rows that slices of one weight write.

    Raises `NotApplicableError` where the weight is no matrix or convolution kernel, or where one
    row of it writes several channels (a grouped transposed convolution).
    """
    name = parts[0].parameter
    path = name.rpartition(".")[0]
    weight, module = parameters[name].detach(), modules.get(path)
    convolution = module if isinstance(module, _ConvNd) else None
    blocks = 1 if convolution is None else convolution.groups
    shared = convolution is not None and convolution.transposed and blocks > 1
    if shared or (weight.ndim > 2 and convolution is None):
        raise NotApplicableError(f"the rows of {name} do not write one channel each")
    return Producer(path, tuple(parts), weight, blocks)


def _rows(part: ParameterSlice, weight: Tensor) -> Tensor:
    """Return the rows of a weight that each node owns, ``(nodes, rows, fan_in)`` float64."""
    first = weight.movedim(part.axis, 0).reshape(weight.shape[part.axis], -1)
    return part.extent.nodes_last(first, 0).flatten(1, 2).permute(2, 1, 0).double()
