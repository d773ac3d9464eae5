"""From a finished trace to channel groups: slices with roles, sites, names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import define, evolve, field
from torch import nn

from nodelens.channels.axes import Expression, Leaf, Solver, Variable
from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice, Role, Site
from nodelens.channels.trace import Contraction, Port, Trace


@define
class _Draft:
    """What has been found of one variable."""

    variable: Variable
    slices: list[ParameterSlice] = field(factory=list)
    sites: list[Site] = field(factory=list)
    modules: list[str] = field(factory=list)
    unread: list[str] = field(factory=list)

    def add(self, sites: list[Site]) -> None:
        """Add the sites that are not there yet."""
        self.sites = list(dict.fromkeys([*self.sites, *sites]))


def assemble(model: nn.Module, trace: Trace) -> ChannelGraph:
    """Return the groups of every variable that some weight writes, in the order of the forward."""
    drafts: dict[int, _Draft] = {}
    for variable, part in _slices(trace):
        drafts.setdefault(variable.number, _Draft(variable)).slices.append(part)
    for contraction in trace.contractions:
        _add_sites(trace, contraction, drafts)
    order = dict.fromkeys(
        leaf.variable.number
        for contraction in trace.contractions
        for written in contraction.written
        for leaf in trace.solver.leaves(written)
    )
    written = [drafts[number] for number in order if number in drafts and drafts[number].modules]
    groups = [_group(model, draft) for draft in written]
    return ChannelGraph(tuple(_unique(groups)), unknown_operators=dict(trace.unknown))


def _slices(trace: Trace) -> Iterator[tuple[Variable, ParameterSlice]]:
    """Yield every variable of every axis of every parameter and buffer, with its role.

    An axis of a tied weight may both write and read its nodes: then it is there in both roles.
    """
    for name, known in trace.parameters.items():
        uses = [each for each in trace.contractions if name in each.parameters]
        for axis, expression in enumerate(known.axes):
            for leaf in trace.solver.leaves(expression):
                if leaf.variable.size > 1:
                    for role in _axis_roles(trace.solver, expression, leaf, uses):
                        yield leaf.variable, ParameterSlice(name, axis, role, leaf.extent)


def _axis_roles(
    solver: Solver, axis: Expression, leaf: Leaf, uses: list[Contraction]
) -> tuple[Role, ...]:
    """Say whether the weight reads or writes the nodes along this axis, or only follows them.

    The axis itself is looked for first: a square weight may read and write one and the same group.
    """
    written = any(each is axis for use in uses for each in use.written)
    read = any(each is axis for use in uses for each in use.read)
    if not (written or read):
        written = any(_contains(solver, use.written, leaf.variable) for use in uses)
        read = not written and any(_contains(solver, use.read, leaf.variable) for use in uses)
    found: tuple[tuple[Role, bool], ...] = (("producer", written), ("consumer", read))
    return tuple(role for role, holds in found if holds) or ("carrier",)


def _contains(solver: Solver, axes: tuple[Expression, ...], variable: Variable) -> bool:
    return any(leaf.variable is variable for axis in axes for leaf in solver.leaves(axis))


def _add_sites(trace: Trace, contraction: Contraction, drafts: dict[int, _Draft]) -> None:
    """Add where the contraction's module reads and writes nodes to the groups of these nodes."""
    for read in contraction.read:
        for leaf in trace.solver.leaves(read):
            draft = drafts.get(leaf.variable.number)
            if draft is None:
                continue
            sites = list(_read_sites(trace, contraction, leaf.variable))
            draft.add(sites)
            if not sites:
                draft.unread.extend(sorted(contraction.parameters))
    for written in contraction.written:
        for leaf in trace.solver.leaves(written):
            draft = drafts.get(leaf.variable.number)
            if draft is not None:
                draft.modules.append(contraction.module)
                sites = list(_write_sites(trace, contraction, leaf.variable))
                draft.add(sites)


def _read_sites(trace: Trace, contraction: Contraction, variable: Variable) -> Iterator[Site]:
    for port in trace.inputs:
        if port.module == contraction.module and port.value == contraction.value:
            for axis, leaf in _port_leaves(trace, port, variable):
                yield Site(
                    module=port.module,
                    end="input",
                    tap="activation",
                    axis=axis,
                    extent=leaf.extent,
                    argument=port.argument,
                    call=port.call,
                    value=port.value,
                    overwritten=trace.overwritten(port),
                )


def _write_sites(trace: Trace, contraction: Contraction, variable: Variable) -> Iterator[Site]:
    for port in trace.outputs:
        if port.module == contraction.module:
            for axis, leaf in _port_leaves(trace, port, variable):
                yield Site(
                    module=port.module,
                    end="output",
                    tap="preactivation",
                    axis=axis,
                    extent=leaf.extent,
                    argument=port.argument,
                    call=port.call,
                    value=port.value,
                    overwritten=trace.overwritten(port),
                )


def _port_leaves(trace: Trace, port: Port, variable: Variable) -> Iterator[tuple[int, Leaf]]:
    for axis, expression in enumerate(port.axes):
        for leaf in trace.solver.leaves(expression):
            if leaf.variable is variable:
                yield axis, leaf


def _group(model: nn.Module, draft: _Draft) -> ChannelGroup:
    variable = draft.variable
    kind = _kind(model, draft)
    first = draft.modules[0]
    return ChannelGroup(
        name=f"{first or 'model'}:{kind}",
        kind=kind,
        width=variable.size,
        slices=tuple(draft.slices),
        sites=tuple(draft.sites),
        frozen=_frozen(draft),
        normalised=variable.normalised,
    )


def _frozen(draft: _Draft) -> str | None:
    if draft.variable.frozen:
        return draft.variable.frozen
    if draft.unread:
        return f"read by {draft.unread[0]} where no module's input shows it"
    if not any(part.role == "consumer" for part in draft.slices):
        return "no weight reads it"
    return None


def _kind(model: nn.Module, draft: _Draft) -> str:
    owners = {type(model.get_submodule(module)).__name__ for module in draft.modules}
    if any("Conv" in owner for owner in owners):
        return "channels"
    if len(set(draft.modules)) > 1:
        return "residual"
    written = next(part for part in draft.slices if part.role == "producer")
    return "heads" if written.extent.inner > 1 else "neurons"


def _unique(groups: list[ChannelGroup]) -> Iterator[ChannelGroup]:
    """Number groups that would share a name."""
    seen: Counter[str] = Counter()
    for group in groups:
        seen[group.name] += 1
        number = seen[group.name]
        yield group if number == 1 else evolve(group, name=f"{group.name}:{number}")
