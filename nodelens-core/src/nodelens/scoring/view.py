"""What a metric sees of one group: summaries of statistics, weights, and the other groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

import torch
from attrs import evolve, field, frozen

from nodelens.errors import NotApplicableError
from nodelens.statistics.contract import (
    AnyStatistic,
    PassStatistic,
    Statistic,
    SummaryT,
    covering,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice, Role
    from nodelens.scoring.contract import Metric
    from nodelens.statistics.contract import State

    States = Mapping[Any, State]


@frozen(eq=False)
class Producer:
    """The one weight that writes each node of a group.

    `weight` is ``(nodes, fan_in)`` float64, its columns in the order of the features that the
    module's input is unfolded to; `block`, ``(nodes,)`` int64, is the run of input features that
    each node reads of `blocks`, 0 but for grouped convolutions.
    """

    module: str
    weight: Tensor
    block: Tensor
    blocks: int = 1


@frozen(eq=False)
class Network:
    """What all groups of a capture share.

    `states` are all states by place, `input_of` names the place of a module's input or weight.
    `metrics` are those of the run, by name, for metrics that are made of others.
    """

    graph: ChannelGraph | None = None
    states: Mapping[str, States] = field(factory=dict)
    input_of: Mapping[str, str] = field(factory=dict)
    modules: Mapping[str, nn.Module] = field(factory=dict)
    metrics: Mapping[str, Metric] = field(factory=dict)


@frozen(eq=False)
class GroupView:
    """One group as a metric sees it, over the folds where `keep` is True.

    ``view[statistic]`` gives the statistic's summary; `incoming` and `outgoing` give weights.
    """

    group: ChannelGroup
    states: States
    parameters: Mapping[str, Tensor]
    keep: Tensor
    network: Network = field(factory=Network)

    @property
    def width(self) -> int:
        """The number of nodes."""
        return self.group.width

    @overload
    def __getitem__(self, statistic: Statistic[SummaryT]) -> SummaryT: ...

    @overload
    def __getitem__(self, statistic: PassStatistic[SummaryT]) -> SummaryT: ...

    def __getitem__(self, statistic: Any) -> Any:
        """Return the summary of a statistic that the metric declared in `needs`.

        One of the input or the weight is that of the module that alone writes the group.
        """
        if statistic.tap in ("input", "weight"):
            return self.at_module(statistic, self.producer().module)
        return self._summary(statistic, self.states, f"the group has no {statistic.tap} site")

    def at_module(self, statistic: Statistic[SummaryT], module: str) -> SummaryT:
        """Return the summary of a statistic of one module's input or weight, or of a block."""
        name = self.network.input_of.get(f"{module} ({statistic.tap})", "")
        states = self.network.states.get(name, {})
        unknown = "is no block" if statistic.tap == "block" else "has no input that can be unfolded"
        summary: SummaryT = self._summary(statistic, states, f"{module} {unknown}")
        return summary

    def _summary(self, statistic: AnyStatistic[Any], states: States, reason: str) -> Any:  # noqa: ANN401
        found = covering(statistic, states)
        if found is None:
            raise NotApplicableError(reason)
        state = states[found]
        return found.summary(state, self._kept(folds_in(state)))

    def _kept(self, folds: int) -> Tensor:
        """Return which of a state's folds are kept; states in more folds than `keep` follow it."""
        if len(self.keep) > folds:
            raise ValueError(f"{len(self.keep)} folds are asked of a state with {folds}")
        return self.keep[torch.arange(folds) % len(self.keep)]

    def incoming(self) -> Tensor:
        """Return the weights that write each node, ``(nodes, fan_in)`` float64, without biases."""
        return self._weights("producer", "no parameter writes these nodes")

    def outgoing(self) -> Tensor:
        """Return the weights that read each node, ``(nodes, fan_out)`` float64."""
        return self._weights("consumer", "no parameter reads these nodes")

    def producers(self) -> int:
        """Return how many weights write the nodes."""
        return len(self.group.role("producer"))

    def producer(self) -> Producer:
        """Return the one weight row that writes each node.

        Raises `NotApplicableError` where several weights, or several rows of one, write a node.
        """
        parts = self.group.role("producer")
        if len(parts) != 1:
            raise NotApplicableError(f"{len(parts)} weights write these nodes; there is no one w")
        extent = parts[0].extent
        if extent.inner * extent.outer != 1:
            raise NotApplicableError("a node is written by several rows of weights, not by one w")
        weight = self.slice_of(parts[0])
        module = parts[0].parameter.rpartition(".")[0]
        blocks = getattr(self.network.modules.get(module), "groups", 1)
        rows = torch.arange(self.width, device=weight.device) + extent.offset
        outputs = self.parameters[parts[0].parameter].shape[parts[0].axis]
        return Producer(module, weight, rows * blocks // outputs, blocks)

    def slice_of(self, part: ParameterSlice) -> Tensor:
        """Return what each node owns of one parameter, ``(nodes, everything else)`` float64."""
        parameter = self.parameters[part.parameter].detach()
        return part.extent.nodes_first(parameter, part.axis).double()

    def view_of(self, group: str) -> GroupView:
        """Return another group of the network as this metric would see it, over the same folds."""
        graph = self.network.graph
        if graph is None:
            raise NotApplicableError("the other groups of the network are not known here")
        states = self.network.states.get(group, {})
        return evolve(self, group=graph[group], states=states)

    def next(self) -> GroupView:
        """Return the next group of the forward pass that can be read, over the same folds."""
        graph = self.network.graph
        names = [group.name for group in graph or () if group.at("activation")]
        if self.group.name not in names[:-1]:
            raise NotApplicableError("no group that can be read comes after this one")
        return self.view_of(names[names.index(self.group.name) + 1])

    def part(self, name: str) -> Tensor:
        """Return the values of another metric of the run on this group, over the same folds."""
        return self.network.metrics[name].score(self).double()

    def _weights(self, role: Role, reason: str) -> Tensor:
        parts = [self.slice_of(part) for part in self.group.role(role)]
        if not parts:
            raise NotApplicableError(reason)
        return torch.cat(parts, dim=1)


def folds_in(state: State) -> int:
    """Return the number of folds of a state: the first axis of all that is not a pivot."""
    return next(len(value) for name, value in state.items() if name != "pivot")
