"""What a metric sees of one group: summaries of statistics, and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.statistics.contract import Statistic, SummaryT

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ChannelGroup, Role
    from nodelens.statistics.contract import State


@frozen(eq=False)
class GroupView:
    """One group as a metric sees it, over the folds where `keep` is True.

    ``view[statistic]`` gives the statistic's summary; `incoming` and `outgoing` give weights.
    """

    group: ChannelGroup
    states: Mapping[Statistic[Any], State]
    parameters: Mapping[str, Tensor]
    keep: Tensor

    @property
    def width(self) -> int:
        """The number of nodes."""
        return self.group.width

    def __getitem__(self, statistic: Statistic[SummaryT]) -> SummaryT:
        """Return the summary of a statistic that the metric declared in `needs`."""
        if statistic not in self.states:
            raise NotApplicableError(f"the group has no {statistic.tap} site")
        return statistic.summary(self.states[statistic], self.keep)

    def incoming(self) -> Tensor:
        """Return the weights that write each node, ``(nodes, fan_in)`` float64, without biases."""
        return self._weights("producer", "no parameter writes these nodes")

    def outgoing(self) -> Tensor:
        """Return the weights that read each node, ``(nodes, fan_out)`` float64."""
        return self._weights("consumer", "no parameter reads these nodes")

    def producers(self) -> int:
        """Return how many weights write the nodes."""
        return len(self.group.role("producer"))

    def _weights(self, role: Role, reason: str) -> Tensor:
        parts = [
            part.extent.nodes_first(self.parameters[part.parameter].detach(), part.axis).double()
            for part in self.group.role(role)
        ]
        if not parts:
            raise NotApplicableError(reason)
        return torch.cat(parts, dim=1)
