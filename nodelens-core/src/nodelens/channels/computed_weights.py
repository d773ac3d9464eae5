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
    from nodelens.channels.trace import Trace, VariedWeight


@frozen(eq=False)
class _Product:
    """Which axes of a weight a product reads and writes along, by position, and their nodes."""

    readers: frozenset[int]
    writers: frozenset[int]
    read: Axes
    written: Axes


@define(eq=False)
class _Found:
    """One computed weight: its program and axes, the modules and the products that use it."""

    program: WeightProgram
    axes: Axes
    unknown: str = ""
    modules: dict[str, None] = field(factory=dict)
    products: list[_Product] = field(factory=list)


@frozen(eq=False)
class UsedWeights:
    """The weights that a forward in evaluation multiplies with: stored ones, and computed ones.

    `computed` holds the computed ones by name, `found` what is known of each.
    """

    stored: frozenset[str]
    computed: Mapping[str, ComputedWeight]
    found: Mapping[str, _Found]

    def is_factor(self, parameter: str, direct: bool) -> bool:
        """Whether a parameter has a role, itself if `direct`, only as a factor of a weight."""
        made = any(parameter in each.program.parameters for each in self.found.values())
        return made and not (direct and parameter in self.stored)


def used_weights(trace: Trace) -> UsedWeights:
    """Return the weights that meet data in evaluation, each once however often it is computed."""
    stored = frozenset(use.root.parameter for use in trace.uses.values()) - {""}
    found = [*_computed(trace), *(_varied(each) for each in trace.varied)]
    named = dict(_named([each for each in found if _matters(trace, each)], stored))
    computed = {
        name: ComputedWeight(name, each.program, tuple(each.modules), each.unknown)
        for name, each in named.items()
    }
    return UsedWeights(stored, computed, named)


def _computed(trace: Trace) -> list[_Found]:
    """Return the weights that are computed without data."""
    by_key: dict[str, _Found] = {}
    by_slot: dict[int, _Found] = {}
    for slot, use in trace.uses.items():
        if not use.root.parameter and not use.root.chosen:
            program = trace.recording.program(slot, use.end)
            found = by_key.setdefault(program.key, _Found(program, use.root.axes))
            found.modules |= use.modules
            by_slot[slot] = found
    for each in trace.contractions:
        if each.evaluated and each.root.slot in by_slot:
            product = _Product(each.root_readers, each.root_writers, each.read, each.written)
            by_slot[each.root.slot].products.append(product)
    return [*by_key.values()]


def _varied(weight: VariedWeight) -> _Found:
    """Return a weight that the data change, which nothing computes without them."""
    reason = f"{weight.parameter} is changed by the data in {weight.module or 'the model'}"
    program, product = (
        WeightProgram((), {0: weight.parameter}, 0),
        _Product(weight.readers, weight.writers, weight.axes, weight.axes),
    )
    return _Found(program, weight.axes, reason, {weight.module: None}, [product])


def _matters(trace: Trace, found: _Found) -> bool:
    """Whether nodes own entries of a weight: what is multiplied, or stands for one parameter.

    Others are made of constant buffers alone, or are results such as a first hidden state.
    """
    names = found.program.parameters
    sizes = [axis.size for axis in found.axes]
    stands = any(
        [axis.size for axis in trace.parameters[name].axes] == sizes
        for name in names
        if name not in trace.buffers
    )
    return bool(found.products) or (stands and len({_attribute(name) for name in names}) == 1)


def _named(weights: list[_Found], stored: frozenset[str]) -> Iterator[tuple[str, _Found]]:
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
        for position, axis in enumerate(found.axes):
            for leaf in trace.solver.leaves(axis):
                if leaf.variable.size > 1:
                    for role in _roles(trace, found, position, leaf):
                        yield leaf.variable, ParameterSlice(name, position, role, leaf.extent)


def _roles(trace: Trace, found: _Found, position: int, leaf: Leaf) -> tuple[Role, ...]:
    """Return the roles of one axis of a weight: producer and consumer, or else carrier."""
    roles: dict[Role, None] = {}
    for each in found.products:
        if position in each.writers and _holds(trace, each.written, leaf.variable):
            roles["producer"] = None
        if position in each.readers and _holds(trace, each.read, leaf.variable):
            roles["consumer"] = None
    return tuple(sorted(roles, reverse=True)) or ("carrier",)


def _holds(trace: Trace, axes: Axes, variable: Variable) -> bool:
    return any(leaf.variable is variable for axis in axes for leaf in trace.solver.leaves(axis))
