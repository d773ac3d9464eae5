"""The view of one group that a metric reads: summaries, weights, and the other groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

import torch
from attrs import evolve, field, frozen

from nodelens.capture.plan.capture_plan import LOSS
from nodelens.errors import CaptureError, NotApplicableError
from nodelens.interfaces.statistic import (
    AnyStatistic,
    PassStatistic,
    ReadPoint,
    Statistic,
    SummaryT,
    covering,
)
from nodelens.scoring.group_weights import GroupWeights
from nodelens.weights.rows import WrittenRows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice
    from nodelens.interfaces.metric import Metric
    from nodelens.interfaces.statistic import State
    from nodelens.interfaces.weight_reduction import WeightReduction
    from nodelens.scoring.producers import Producer

    States = Mapping[Any, State]


@frozen(eq=False)
class Network:
    """The states, weights and metrics of a capture, common to all views of its groups.

    `states` are all states by place, `input_of` names the place of a module's input or weight.
    `metrics` are those of the run, by name, for metrics that depend on others. `remembered` holds
    intermediate results that a metric needs for several groups, under a key that begins with the
    metric itself, as long as the model is scored. `lost` are the reasons of statistics that were
    not computed, by place; those in `broken` are errors of a statistic's own code. `reduced` holds
    the results of weight reductions by group, as long as a group is scored.
    """

    graph: ChannelGraph | None = None
    states: Mapping[str, States] = field(factory=dict)
    input_of: Mapping[str, str] = field(factory=dict)
    modules: Mapping[str, nn.Module] = field(factory=dict)
    metrics: Mapping[str, Metric] = field(factory=dict)
    remembered: dict[tuple[Any, ...], Any] = field(factory=dict)
    lost: Mapping[str, Mapping[Any, str]] = field(factory=dict)
    broken: frozenset[str] = frozenset()
    reduced: dict[tuple[str, WeightReduction[Any]], Any] = field(factory=dict)

    def check(self, statistic: object, places: Iterable[str]) -> None:
        """Raise the reason why a statistic was not computed at some places, if it was not.

        `NotApplicableError` where a place could not be read, `CaptureError` where the code of the
        statistic failed.
        """
        for place in places:
            among = self.lost.get(place, {})
            found = covering(statistic, among)
            if found is not None:
                reason = among[found]
                raise (CaptureError if reason in self.broken else NotApplicableError)(reason)


@frozen(eq=False)
class GroupView:
    """The view of one group that a metric reads, over the folds where `keep` is True.

    ``view[statistic]`` gives the statistic's summary, ``view[reduction]`` that of the weights.
    `declared` are the reductions that the metric names in `weights`; None allows all.
    """

    group: ChannelGroup
    states: States
    parameters: Mapping[str, Tensor]
    keep: Tensor
    network: Network = field(factory=Network)
    declared: frozenset[WeightReduction[Any]] | None = None

    @property
    def width(self) -> int:
        """The number of nodes."""
        return self.group.width

    @property
    def components(self) -> int:
        """The number of components of a node's activation, such as the dimensions of a head.

        A summary of an activation has one entry for each component, a node's side by side: ``(nodes
        · components)`` where this says ``(nodes,)``. `total`, `average` and `largest` make them one
        number of a node; all three change nothing where a node has one component.
        """
        return self.group.components("activation")

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the components of each node, ``(…, nodes)``."""
        return values if self.components == 1 else self.by_component(values).sum(-1)

    def average(self, values: Tensor) -> Tensor:
        """Return the mean over the components of each node, ``(…, nodes)``."""
        return values if self.components == 1 else self.by_component(values).mean(-1)

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest over the components of each node, ``(…, nodes)``."""
        return values if self.components == 1 else self.by_component(values).amax(-1)

    def by_component(self, values: Tensor) -> Tensor:
        """Return values with an axis of nodes and one of components, ``(…, nodes, components)``."""
        return values.reshape(*values.shape[:-1], self.width, -1)

    @overload
    def __getitem__(self, statistic: Statistic[SummaryT]) -> SummaryT: ...

    @overload
    def __getitem__(self, statistic: PassStatistic[SummaryT]) -> SummaryT: ...

    @overload
    def __getitem__(self, statistic: WeightReduction[SummaryT]) -> SummaryT: ...

    def __getitem__(self, statistic: Any) -> Any:
        """Return the summary of a statistic that the metric names in `statistics`, or in `weights`.

        A statistic of the input or the weight is that of the one module that writes the group.
        """
        if hasattr(statistic, "reduce"):
            if self.declared is not None and statistic not in self.declared:
                raise ValueError(f"{statistic} is read, but not named in the metric's 'weights'")
            return self._reduced(statistic)
        if statistic.reads in ("input", "weight"):
            return self.at_module(statistic, self.producer().module)
        if statistic.reads == "loss":
            losses = self.network.states.get(LOSS, {})
            self.network.check(statistic, [LOSS])
            return self._summary(statistic, losses, "the loss is known for one label per row only")
        self.network.check(statistic, [self.group.name, f"{self.group.name} (pair)"])
        return self._summary(statistic, self.states, self._unread(statistic.reads))

    def _unread(self, reads: ReadPoint) -> str:
        """Return why the group has no statistic of a read point."""
        graph = self.network.graph
        if graph is not None and reads in ("activation", "preactivation"):
            return graph.unreadable(self.group, reads) or f"nothing was read at its {reads}"
        return f"the group has no {reads} site"

    def at_module(self, statistic: Statistic[SummaryT], module: str) -> SummaryT:
        """Return the summary of a statistic of one module's input or weight, or of a block.

        Raises `NotApplicableError` where the module's weight is multiplied elsewhere as well: those
        products have inputs of their own, which are not read.
        """
        elsewhere = self._multiplied_elsewhere(module) if statistic.reads != "block" else ""
        if elsewhere:
            raise NotApplicableError(elsewhere)
        name = self.network.input_of.get(f"{module} ({statistic.reads})", "")
        states = self.network.states.get(name, {})
        self.network.check(statistic, [name])
        unknown = (
            "is no block" if statistic.reads == "block" else "has no input that can be unfolded"
        )
        graph = self.network.graph
        reason = graph.unreadable_module(module) if graph is not None else ""
        summary: SummaryT = self._summary(statistic, states, reason or f"{module} {unknown}")
        return summary

    def _summary(self, statistic: AnyStatistic[Any], states: States, reason: str) -> Any:
        found = covering(statistic, states)
        if found is None:
            raise NotApplicableError(reason)
        state = states[found]
        return found.summary(state, self._kept(folds_in(state)))

    def _reduced(self, reduction: WeightReduction[SummaryT]) -> SummaryT:
        """Return a summary of the weights, computed once for all metrics and folds."""
        key, known = (self.group.name, reduction), self.network.reduced
        if key not in known:
            weights = GroupWeights(self.group, self.parameters, self.network.modules)
            known[key] = reduction.reduce(weights)
        found: SummaryT = known[key]
        return found

    def _kept(self, folds: int) -> Tensor:
        """Return the kept folds of a state; a state with more folds than `keep` repeats them."""
        if len(self.keep) > folds:
            raise ValueError(f"{len(self.keep)} folds are requested of a state with {folds}")
        return self.keep[torch.arange(folds) % len(self.keep)]

    def producer(self) -> Producer:
        """Return the one weight row that writes each node.

        Raises `NotApplicableError` where several weights, or several rows of one, write a node.
        """
        found = self.written_by()
        if found.rows_per_node != 1:
            raise NotApplicableError("a node is written by several rows of weights, not by one w")
        return found

    def written_by(self, name: str | None = None) -> Producer:
        """Return the rows of one weight that write each node.

        `name` is the path of a module or the last parts of it, such as ``up_proj``, where several
        weights write the nodes. Raises `NotApplicableError` unless exactly one answers to it, or
        where it has no rows that write one channel each.
        """
        return self._reduced(WrittenRows(name))

    def slice_of(self, part: ParameterSlice) -> Tensor:
        """Return the entries of a parameter that each node owns, ``(nodes, …)`` float64."""
        parameter = self.parameters[part.parameter].detach()
        return part.extent.nodes_first(parameter, part.axis).double()

    def users(self, weight: str) -> tuple[str, ...]:
        """Return the modules that multiply with a weight, by its name: all that own a tied one."""
        computed = self.network.graph.computed if self.network.graph else {}
        if weight in computed:
            modules = self.network.modules
            users = [modules[path] for path in computed[weight].modules]
            return tuple(path for path, each in modules.items() if each in users)
        tensor = self.parameters[weight]
        stored = (name for name in self.parameters if name not in computed)
        names = [name for name in stored if self.parameters[name] is tensor]
        return tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))

    def _multiplied_elsewhere(self, module: str) -> str:
        """Return why a module's input is not all that its weight is multiplied with, else empty."""
        own = {n for n in self.parameters if n.rpartition(".")[0] == module}
        tensors = {id(self.parameters[n]) for n in own}
        for group in self.network.graph or ():
            for site in group.sites:
                found = self.parameters.get(str(site.argument)) if site.end == "operand" else None
                if found is not None and site.module != module and id(found) in tensors:
                    where = site.module or "the model's own forward"
                    return (
                        f"{site.argument} is multiplied in {where} as well, where no input is read"
                    )
        return ""

    def view_of(self, group: str) -> GroupView:
        """Return the view of another group for this metric, over the same folds."""
        graph = self.network.graph
        if graph is None:
            raise NotApplicableError("the other groups of the network are not known here")
        states = self.network.states.get(group, {})
        return evolve(self, group=graph[group], states=states)

    def next(self) -> GroupView:
        """Return the view of the next group of the forward that can be read, over these folds."""
        graph = self.network.graph
        readable = (group for group in graph or () if group.at("activation"))
        names = [group.name for group in readable if not group.part_of]
        if self.group.name not in names[:-1]:
            raise NotApplicableError("no group that can be read comes after this one")
        return self.view_of(names[names.index(self.group.name) + 1])

    def metric(self, name: str) -> Tensor:
        """Return the values of another metric of the run on this group, over the same folds."""
        return self.network.metrics[name].score(self).double()


def folds_in(state: State) -> int:
    """Return the number of folds of a state: the first axis of all that is not a pivot."""
    return next(len(value) for name, value in state.items() if name != "pivot")
