"""Channel groups made from a finished trace: slices with roles, sites, names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from attrs import define, evolve, field, frozen
from torch import nn

from nodelens.channels.blocks import blocks_of
from nodelens.channels.computed_weights import UsedWeights, computed_slices, used_weights
from nodelens.channels.expressions import Leaf, Variable
from nodelens.channels.fixed import fixed_groups
from nodelens.channels.groups import ChannelGraph, ChannelGroup, ParameterSlice, Role, Site
from nodelens.channels.naming import kind_of, place_of, unique
from nodelens.channels.single_heads import with_single_heads
from nodelens.channels.sites import port_sites, read_sites
from nodelens.channels.stacks import over_stack, stack_of, written_by_stack
from nodelens.channels.trace import Contraction, Port, Trace
from nodelens.channels.unreached import unreached


@frozen(eq=False)
class _Use:
    """A contraction with the variables that its weight reads and writes, fully resolved."""

    contraction: Contraction
    order: int
    read: dict[int, Variable]
    written: dict[int, Variable]


@define(eq=False)
class _Draft:
    """A channel group in the making: slices, sites and modules found for one variable."""

    variable: Variable
    slices: list[ParameterSlice] = field(factory=list)
    computed: list[ParameterSlice] = field(factory=list)
    sites: dict[Site, Site] = field(factory=dict)
    modules: dict[str, None] = field(factory=dict)
    unread: list[str] = field(factory=list)
    stack: Variable | None = None
    reads: list[int] = field(factory=list)
    writes: dict[frozenset[str], int] = field(factory=dict)

    def show(self, site: Site) -> None:
        """Add a site; all products with one parameter are one site, whatever tensors are read."""
        if site.end != "operand":
            self.sites[site] = site
            return
        place = evolve(site, value=0, overwritten=False, rows=None)
        known = self.sites.get(place, site)
        self.sites[place] = evolve(
            known,
            rows=known.rows if known.rows == site.rows else None,
            overwritten=known.overwritten or site.overwritten,
        )

    @property
    def unread_by(self) -> str:
        """Why the nodes cannot be read, empty if they can."""
        return f"read by {self.unread[0]} where no module's input shows it" if self.unread else ""

    @property
    def written(self) -> list[ParameterSlice]:
        """The slices that write the nodes."""
        return [part for part in self.slices if part.role == "producer"]

    @property
    def looped(self) -> bool:
        """Whether some weight writes the nodes after a read of them, as in a residual stream."""
        return bool(self.reads and self.writes) and min(self.reads) <= max(self.writes.values())


def assemble(model: nn.Module, trace: Trace, note: str = "") -> ChannelGraph:
    """Return the groups of every variable that some weight writes, in the order of the forward."""
    uses = [_use(trace, contraction, n) for n, contraction in enumerate(trace.contractions)]
    used = used_weights(trace)
    drafts: dict[int, _Draft] = {}
    for variable, part in _slices(trace, uses, used):
        drafts.setdefault(variable.number, _Draft(variable)).slices.append(part)
    for variable, part in computed_slices(trace, used):
        drafts.setdefault(variable.number, _Draft(variable)).computed.append(part)
    _add_stacks(trace, uses, used, drafts)
    inputs, outputs = _by_module(trace.inputs), _by_module(trace.outputs)
    for use in uses:
        _add_reads(trace, use, drafts, inputs[use.contraction.module])
        _add_writes(trace, use, drafts, outputs[use.contraction.module])
    order = dict.fromkeys(number for use in uses for number in use.written)
    written = [drafts[number] for number in order if number in drafts]
    rest = [(draft.variable, draft.slices) for n, draft in drafts.items() if n not in order]
    groups = [_group(model, trace, drafts, draft) for draft in written]
    shown = [part for group in groups for part in group.slices]
    fixed = fixed_groups(model, trace, rest, shown)
    groups = list(unique([*groups, *fixed]))
    names = {
        draft.variable.number: group.name for draft, group in zip(written, groups, strict=False)
    }
    return ChannelGraph(
        tuple(with_single_heads(groups)),
        note=note,
        unknown_operators=dict(trace.unknown),
        unused=unreached(model, trace),
        blocks=blocks_of(model, trace, names),
        mixed=trace.mixed,
        calls=dict(trace.called),
        computed=used.computed,
    )


def _use(trace: Trace, contraction: Contraction, order: int) -> _Use:
    read, written = (
        {leaf.variable.number: leaf.variable for axis in axes for leaf in trace.solver.leaves(axis)}
        for axes in (contraction.read, contraction.written)
    )
    return _Use(contraction, order, read, written)


def _by_module(ports: Iterable[Port]) -> defaultdict[str, list[Port]]:
    found: defaultdict[str, list[Port]] = defaultdict(list)
    for port in ports:
        found[port.module].append(port)
    return found


def _slices(
    trace: Trace, uses: Iterable[_Use], used: UsedWeights
) -> Iterator[tuple[Variable, ParameterSlice]]:
    """Yield every variable of every axis of every parameter and buffer, with its role.

    An axis of a tied weight may both write and read its nodes: it is then yielded in both roles.
    """
    by_parameter: defaultdict[str, list[_Use]] = defaultdict(list)
    for use in uses:
        for name in use.contraction.parameters:
            by_parameter[name].append(use)
    for name, known in trace.parameters.items():
        for position, axis in enumerate(known.axes):
            for leaf in trace.solver.leaves(axis):
                if leaf.variable.size > 1:
                    place, among = (name, position), by_parameter[name]
                    now = _roles((use for use in among if use.contraction.evaluated), place, leaf)
                    for role in _roles(among, place, leaf):
                        factor = role not in now or used.is_factor(name, now[role])
                        part = ParameterSlice(name, position, role, leaf.extent, factor)
                        yield leaf.variable, part


def _roles(uses: Iterable[_Use], axis: tuple[str, int], leaf: Leaf) -> dict[Role, bool]:
    """Return the roles of one axis of a parameter: producer and consumer, or else carrier.

    The value is True where the parameter has the role itself, not only what is computed from it.
    """
    found: dict[Role, bool] = {}
    for use in uses:
        direct = use.contraction.root.parameter == axis[0]
        if axis in use.contraction.writers and leaf.variable.number in use.written:
            found["producer"] = direct or found.get("producer", False)
        if axis in use.contraction.readers and leaf.variable.number in use.read:
            found["consumer"] = direct or found.get("consumer", False)
    return dict(sorted(found.items(), reverse=True)) or {"carrier": True}


def _add_stacks(
    trace: Trace, uses: Iterable[_Use], used: UsedWeights, drafts: Mapping[int, _Draft]
) -> None:
    """Note the stacks of weights that read nodes, and the axes of weights that run over them."""
    for use in uses:
        for draft in (drafts[number] for number in use.read if number in drafts):
            stack = draft.stack or stack_of(trace, use.contraction, draft.variable)
            draft.stack = stack if stack and written_by_stack(trace, draft.slices, stack) else None
    weights = {name: each.axes for name, each in trace.parameters.items()}
    weights.update((name, each.axes) for name, each in used.found.items())
    for draft in drafts.values():
        if draft.stack is not None:
            draft.slices = list(over_stack(trace, draft.slices, weights, draft.stack))
            draft.computed = list(over_stack(trace, draft.computed, weights, draft.stack))


def _add_reads(trace: Trace, use: _Use, drafts: dict[int, _Draft], ports: list[Port]) -> None:
    """Add the sites at which a weight reads its nodes; reads in training alone have none."""
    contraction = use.contraction
    for number in use.read:
        draft = drafts.get(number)
        if draft is None:
            continue
        draft.reads.append(use.order)
        if not contraction.evaluated:
            continue
        sites = read_sites(trace, contraction, draft.variable, ports, draft.stack)
        for site in sites:
            draft.show(site)
        if not sites:
            draft.unread.extend(sorted(contraction.parameters))


def _add_writes(trace: Trace, use: _Use, drafts: dict[int, _Draft], ports: list[Port]) -> None:
    for number in use.written:
        draft = drafts.get(number)
        if draft is not None:
            if use.contraction.evaluated or not draft.writes:
                draft.writes.setdefault(use.contraction.parameters, use.order)
            draft.modules[use.contraction.module] = None
            for site in port_sites(trace, ports, "preactivation", draft.variable, draft.stack):
                draft.show(site)


def _group(
    model: nn.Module, trace: Trace, drafts: Mapping[int, _Draft], draft: _Draft
) -> ChannelGroup:
    variable, modules = draft.variable, list(draft.modules)
    nested = _nested(trace, drafts, draft)
    kind = kind_of(model, variable, modules, draft.slices, draft.looped, nested)
    place = place_of(variable, modules, kind)
    return ChannelGroup(
        name=f"{place or 'model'}:{kind}",
        kind=kind,
        width=variable.size,
        slices=tuple(draft.slices),
        sites=tuple(draft.sites.values()),
        frozen=_frozen(model, draft),
        normalised=variable.normalised,
        split_at=variable.split_at,
        computed=tuple(draft.computed),
        unread=draft.unread_by,
    )


def _nested(trace: Trace, drafts: Mapping[int, _Draft], draft: _Draft) -> int | None:
    """Return how many more slices write the heads that nest with these, None if there are none."""
    others = [
        drafts[leaf.variable.number]
        for part in draft.written
        for leaf in trace.solver.leaves(trace.parameters[part.parameter].axes[part.axis])
        if leaf.variable is not draft.variable
        and (leaf.variable.attention or ("",))[0] == "heads"
        and leaf.variable.number in drafts
    ]
    return max((len(each.written) - len(draft.written) for each in others), default=None)


def _frozen(model: nn.Module, draft: _Draft) -> str | None:
    if draft.variable.frozen:
        return draft.variable.frozen
    if draft.unread:
        return draft.unread_by
    if not any(part.role == "consumer" for part in draft.slices):
        return "no weight reads it"
    if not any(site.point == "activation" for site in draft.sites.values()):
        return "it is read in training only"
    part, place = draft.variable.attention or ("", "")
    if part and isinstance(model.get_submodule(place), nn.MultiheadAttention):
        return f"{place}, torch's own attention, makes heads × head_dim the width that it reads"
    return None
