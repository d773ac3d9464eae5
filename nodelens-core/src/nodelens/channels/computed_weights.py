"""The weights of a finished trace that the model computes, with their names and slices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from nodelens.channels.groups import ParameterSlice, Role
from nodelens.channels.weight_programs import ComputedWeight, WeightProgram

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes, Leaf, Variable
    from nodelens.channels.trace import Contraction, Root, Trace


@define(eq=False)
class _Found:
    """One computed weight: its program, and the roots of all its uses, each with contractions."""

    program: WeightProgram
    roots: list[Root] = field(factory=list)
    modules: dict[str, None] = field(factory=dict)
    contractions: list[Contraction] = field(factory=list)


@frozen(eq=False)
class UsedWeights:
    """The weights that a forward in evaluation multiplies with: stored ones, and computed ones.

    `computed` holds the computed ones by name, `found` what is known of each.
    """

    stored: frozenset[str]
    computed: Mapping[str, ComputedWeight]
    found: Mapping[str, _Found]

    def is_factor(self, parameter: str) -> bool:
        """Whether a parameter is used only to compute a weight."""
        made = any(parameter in weight.program.parameters for weight in self.computed.values())
        return made and parameter not in self.stored


def used_weights(trace: Trace) -> UsedWeights:
    """Return the weights that meet data in evaluation, each once however often it is computed."""
    stored = frozenset(use.root.parameter for use in trace.uses.values()) - {""}
    by_key: dict[str, _Found] = {}
    by_slot: dict[int, _Found] = {}
    for slot, use in trace.uses.items():
        if not use.root.parameter and not use.root.chosen:
            program = trace.recording.program(slot, use.end)
            found = by_slot[slot] = by_key.setdefault(program.key, _Found(program))
            found.roots.append(use.root)
            found.modules |= use.modules
    for contraction in trace.contractions:
        if contraction.evaluated and contraction.root.slot in by_slot:
            by_slot[contraction.root.slot].contractions.append(contraction)
    named = dict(_named(trace, [each for each in by_key.values() if _matters(trace, each)], stored))
    computed = {
        name: ComputedWeight(name, each.program, tuple(each.modules))
        for name, each in named.items()
    }
    return UsedWeights(stored, computed, named)


def _matters(trace: Trace, found: _Found) -> bool:
    """Whether nodes may own entries of a weight: not of what is made of constant buffers alone."""
    learned = any(name not in trace.buffers for name in found.program.parameters)
    return learned or bool(found.contractions)


def _named(
    trace: Trace, weights: list[_Found], stored: frozenset[str]
) -> Iterator[tuple[str, _Found]]:
    """Yield every weight with a name of its own: that of the attribute that it stands for."""
    taken = set(stored)
    for found in weights:
        name = first = _name(found)
        number = 2
        while name in taken:
            name, number = f"{first}:{number}", number + 1
        taken.add(name)
        yield name, found


def _name(found: _Found) -> str:
    """Return the attribute that torch's tools compute from parameters, or the module's weight."""
    attributes = {_attribute(name) for name in found.program.parameters}
    if len(attributes) == 1:
        return attributes.pop()
    return f"{next(iter(found.modules))}.weight".removeprefix(".")


def _attribute(parameter: str) -> str:
    owner, inside, rest = f".{parameter}".rpartition(".parametrizations.")
    if inside:
        return f"{owner}.{rest.split('.')[0]}".strip(".")
    return re.sub("_(orig|mask|g|u|v)$", "", parameter)


def computed_slices(trace: Trace, used: UsedWeights) -> Iterator[tuple[Variable, ParameterSlice]]:
    """Yield every variable of every axis of every computed weight, with its role."""
    for name, found in used.found.items():
        for position, axis in enumerate(found.roots[0].axes):
            for leaf in trace.solver.leaves(axis):
                if leaf.variable.size > 1:
                    for role in _roles(trace, found, position, leaf):
                        yield leaf.variable, ParameterSlice(name, position, role, leaf.extent)


def _roles(trace: Trace, found: _Found, position: int, leaf: Leaf) -> tuple[Role, ...]:
    """Return the roles of one axis of a weight: producer and consumer, or else carrier."""
    roles: dict[Role, None] = {}
    for each in found.contractions:
        ends: tuple[tuple[Role, frozenset[int], Axes], ...] = (
            ("producer", each.root_writers, each.written),
            ("consumer", each.root_readers, each.read),
        )
        for role, positions, axes in ends:
            if position in positions and _holds(trace, axes, leaf.variable):
                roles[role] = None
    return tuple(sorted(roles, reverse=True)) or ("carrier",)


def _holds(trace: Trace, axes: Axes, variable: Variable) -> bool:
    return any(leaf.variable is variable for axis in axes for leaf in trace.solver.leaves(axis))
