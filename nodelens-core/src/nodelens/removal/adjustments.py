"""Integers in a model's own Python that may have to follow a removal, and how to set them.

A module may keep ``num_heads``, ``split_size`` or a field of a shared config. Which of its
integers follow which removal is not known beforehand: every integer that equals an old size, or a
multiple of a number of nodes, is a candidate, and the comparison with the masked model decides.
"""

from __future__ import annotations

import copy
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from torch import nn

from nodelens.removal.attributes import is_standard
from nodelens.removal.journal import Journal
from nodelens.removal.slicing import Change, Cut

_OWN = frozenset(vars(nn.Module()))
_PLACE = re.compile(r"(?P<config>config\.)?(?P<name>\w+)(\[(?P<index>\d+)\])?")


@frozen
class AttributeRule:
    """How an integer of every module of one class follows a removal.

    `attribute` is the integer: ``num_heads``, an entry ``sizes[1]``, a field ``config.num_heads``.
    It shrinks like `axis` of `parameter`, named relative to the module `up` levels above: in
    proportion to the `nodes` (kinds of groups, joined by ×) of the slice that starts at `offset`,
    or, for ``nodes=""``, as the axis itself. Rules that a removal has found can be given to another
    one as hints.
    """

    module: str
    attribute: str
    parameter: str
    axis: int = 0
    nodes: str = ""
    offset: int = 0
    up: int = 0

    def __str__(self) -> str:
        what = f"the {self.nodes} of axis" if self.nodes else "axis"
        return f"{self.module}.{self.attribute} follows {what} {self.axis} of {self.parameter}"


@frozen
class Source:
    """One axis that shrinks: an integer `size` becomes `left`, a multiple of it in proportion."""

    parameter: str
    axis: int
    nodes: str
    offset: int
    size: int
    left: int
    multiples: int = 1

    def followed(self, value: int) -> int | None:
        """Return what an integer becomes that follows this axis, None if it cannot be its size."""
        factor, rest = divmod(value, self.size)
        return None if rest or not factor or self.multiples % factor else factor * self.left


Effect = Mapping[tuple[str, str], int]


@frozen
class Adjustment:
    """A rule and the integers that it sets: ``(module path, attribute)`` to the new value."""

    rule: AttributeRule
    effect: Effect

    def order(self, place: str) -> tuple[int, int, int]:
        """Return how soon to try it where `place` fails: near modules first.

        Of one module, first what follows all kinds of nodes together, last what follows an axis.
        """
        kinds = len(self.rule.nodes.split("×")) if self.rule.nodes else 0
        return (*min(_distance(path, place) for path, _ in self.effect), -kinds)


def _distance(path: str, place: str) -> tuple[int, int]:
    a, b = ([part for part in each.split(".") if part] for each in (path, place))
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    common = min(len(a), len(b)) if shared is None else shared
    return len(b) - common, len(a) - common


def sources(changes: Sequence[Change], cuts: Sequence[Cut]) -> list[Source]:
    """Return every axis that shrinks: by the nodes of a slice, of all together, as a whole."""
    places: dict[tuple[str, int, int], dict[str, Change]] = defaultdict(dict)
    for change in changes:
        for part in change.group.slices:
            key = (part.parameter, part.axis, part.extent.offset)
            places[key].setdefault(change.group.kind, change)
    by_name = {name: cut for cut in cuts for name in cut.names}
    found: dict[Source, None] = {}
    for (parameter, axis, offset), by_kind in places.items():
        cut = by_name[parameter]
        for name in cut.names:
            whole, left = cut.shape[axis], len(cut.kept[axis])
            found[Source(name, axis, "", 0, whole, left)] = None
            for kinds in [*([kind] for kind in by_kind), sorted(by_kind)]:
                size = math.prod(by_kind[kind].group.width for kind in kinds)
                stays = math.prod(by_kind[kind].left for kind in kinds)
                nodes = " × ".join(kinds)
                source = Source(name, axis, nodes, offset, size, stays, whole // size or 1)
                found[source] = None
    return list(found)


def adjustments(model: nn.Module, shrinking: Sequence[Source]) -> list[Adjustment]:
    """Return every rule that would set some integer of the model, each effect once."""
    near = _Near(model, shrinking)
    effects: dict[frozenset[tuple[tuple[str, str], int]], Adjustment] = {}
    for path, module in model.named_modules():
        up, inside = near.of(path, module)
        for attribute, value in integers(module):
            for source in inside.values():
                if source.followed(value) not in (None, value):
                    rule = AttributeRule(
                        type(module).__name__,
                        attribute,
                        _relative(source.parameter, path, up),
                        source.axis,
                        source.nodes,
                        source.offset,
                        up,
                    )
                    found = adjustment(model, rule, shrinking)
                    effects.setdefault(frozenset(found.effect.items()), found)
    return list(effects.values())


class _Near:
    """Which shrinking axes lie nearest to a module: below itself, its parent, …."""

    def __init__(self, model: nn.Module, shrinking: Sequence[Source]) -> None:
        self.below: dict[str, dict[tuple[int, int, int], Source]] = defaultdict(dict)
        for source in shrinking:
            parts = source.parameter.split(".")
            for depth in range(len(parts)):
                key = (source.size, source.left, source.multiples)
                self.below[".".join(parts[:depth])].setdefault(key, source)

    def of(self, path: str, module: nn.Module) -> tuple[int, Mapping[tuple[int, int, int], Source]]:
        """Return how many levels up the nearest axes are, and these, one of each kind.

        A module with parameters is concerned only by those that it holds itself, one without (the
        core of an attention, a rearrangement) by those around it.
        """
        up = 0
        while path and path not in self.below and next(module.parameters(), None) is None:
            path, up = path.rpartition(".")[0], up + 1
        return up, self.below.get(path, {})


def _above(path: str, up: int) -> str:
    for _ in range(up):
        path = path.rpartition(".")[0]
    return path


def _relative(parameter: str, path: str, up: int) -> str:
    above = _above(path, up)
    return parameter[len(above) + 1 :] if above else parameter


def adjustment(model: nn.Module, rule: AttributeRule, shrinking: Sequence[Source]) -> Adjustment:
    """Return what a rule sets in all modules of its class (nothing, where none matches)."""
    axes = {(each.parameter, each.axis, each.nodes, each.offset): each for each in shrinking}
    effect: dict[tuple[str, str], int] = {}
    for path, module in model.named_modules():
        if type(module).__name__ != rule.module:
            continue
        above = _above(path, rule.up)
        name = f"{above}.{rule.parameter}" if above else rule.parameter
        source = axes.get((name, rule.axis, rule.nodes, rule.offset))
        value = dict(integers(module)).get(rule.attribute)
        new = source.followed(value) if source and value is not None else None
        if new is not None and new != value:
            effect[path, rule.attribute] = new
    return Adjustment(rule, effect)


def integers(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the integers of a module's own attributes, of tuples among them, and of its config.

    Standard modules with parameters have none: theirs follow the parameters by a table.
    """
    if is_standard(module):
        return
    own = {name: value for name, value in vars(module).items() if name not in _OWN}
    yield from _integers(own)
    config = own.get("config")
    if hasattr(config, "__dict__"):
        for name, value in _integers(vars(config)):
            yield f"config.{name}", value


def _integers(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if type(value) is int:
            yield name, value
        elif isinstance(value, tuple | list):
            for index, entry in enumerate(value):
                if type(entry) is int:
                    yield f"{name}[{index}]", entry


def perform(model: nn.Module, effect: Effect, journal: Journal) -> None:
    """Set every integer of an effect.

    A field of a config that modules share is set in the shared object when all modules of the
    effect's class agree on it; otherwise each module gets a config of its own.
    """
    own = [path for path, attribute in effect if not _agreed(model, path, attribute, effect)]
    for path in own:
        module = model.get_submodule(path)
        journal.set_attribute(module, "config", copy.copy(module.config))
    for (path, attribute), value in effect.items():
        place = _PLACE.fullmatch(attribute)
        assert place is not None
        module = model.get_submodule(path)
        holder = module.config if place["config"] else module
        journal.set_attribute(holder, place["name"], _with(holder, place, value))


def _agreed(model: nn.Module, path: str, attribute: str, effect: Effect) -> bool:
    """Whether all modules of one class that share a config ask for the same value of its field."""
    module = model.get_submodule(path)
    shared = getattr(module, "config", None)
    if shared is None or not attribute.startswith("config."):
        return True
    asked = {
        effect.get((other_path, attribute))
        for other_path, other in model.named_modules()
        if type(other) is type(module) and getattr(other, "config", None) is shared
    }
    return len(asked) == 1


def _with(holder: object, place: re.Match[str], value: int) -> Any:  # noqa: ANN401
    old = getattr(holder, place["name"])
    if place["index"] is None:
        return value
    index = int(place["index"])
    entries = (*old[:index], value, *old[index + 1 :])
    return list(entries) if isinstance(old, list) else entries
