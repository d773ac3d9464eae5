"""Integers in a model's own Python that may have to follow a removal, as candidate rules.

A module may keep ``num_heads``, ``split_size`` or a field of a shared config. Which of its
integers follow which removal is not known beforehand: every integer that equals an old size, or a
multiple of a number of nodes, is a candidate, and the comparison with the masked model decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Union

from attrs import frozen

from nodelens.removal.integers import Effect, integer_lists, integers

if TYPE_CHECKING:
    from torch import nn

    from nodelens.removal.attribute_hints import AttributeHint
    from nodelens.removal.shrunk_axes import ShrunkAxis


@frozen
class AttributeRule:
    """A rule by which an integer of every module of one class follows a removal.

    `attribute` is the integer: ``num_heads``, an entry ``sizes[1]``, a field ``config.num_heads``.
    It shrinks like `axis` of `parameter`, named relative to the module `up` levels above: in
    proportion to the `nodes` (kinds of groups, joined by ×) of the slice that starts at `offset`,
    or, for ``nodes=""``, as the axis itself. Rules found by one removal can be given to another
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


RuleOrHint = Union[AttributeRule, "AttributeHint"]


@frozen
class Adjustment:
    """Rules and the integers that they set: ``(module path, attribute)`` to the new value."""

    rules: tuple[RuleOrHint, ...]
    effect: Effect

    @property
    def kind(self) -> tuple[str, bool]:
        """The class whose integers are set, and whether they are in its config."""
        rule = self.rules[0]
        of = rule.module if isinstance(rule, AttributeRule) else ""
        return of, rule.attribute.startswith("config.")

    @property
    def name(self) -> str:
        """The name of the first integer that is set."""
        return self.rules[0].attribute

    def order(self, place: str) -> tuple[int, int, int, int]:
        """Return the sort key of a candidate where `place` fails: single rules, then near modules.

        In one module, rules of all kinds of nodes together come first, rules of an axis last.
        """
        nodes = [rule.nodes for rule in self.rules if isinstance(rule, AttributeRule)]
        kinds = max((len(each.split("×")) for each in nodes if each), default=0)
        distance = min(_distance(path, place) for path, _ in self.effect)
        return (len(self.rules) > 1, *distance, -kinds)


def _distance(path: str, place: str) -> tuple[int, int]:
    a, b = ([part for part in each.split(".") if part] for each in (path, place))
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    common = min(len(a), len(b)) if shared is None else shared
    return len(b) - common, len(a) - common


def adjustments(model: nn.Module, shrinking: Sequence[ShrunkAxis]) -> list[Adjustment]:
    """Return every rule that would set some integer of the model, one per effect.

    Rules of one class that follow the same nodes come once more all together.
    """
    near = _Near(model, shrinking)
    rules = (
        rule
        for path, module in model.named_modules()
        for up, inside in [near.of(path, module)]
        for rule in (*_singles(path, module, up, inside), *_lists(path, module, up, inside))
    )
    effects: dict[frozenset[tuple[tuple[str, str], int]], Adjustment] = {}
    for rule in dict.fromkeys(rules):
        found = adjustment(model, rule, shrinking)
        if found.effect:
            effects.setdefault(frozenset(found.effect.items()), found)
    singles = list(effects.values())
    return [*singles, *_together(singles)]


def _singles(
    path: str, module: nn.Module, up: int, inside: Iterable[ShrunkAxis]
) -> Iterator[AttributeRule]:
    for attribute, value in integers(module):
        for source in inside:
            if source.followed(value) not in (None, value):
                yield _rule(path, module, attribute, source, up)


def _lists(
    path: str, module: nn.Module, up: int, inside: Iterable[ShrunkAxis]
) -> Iterator[AttributeRule]:
    for attribute, lengths in integer_lists(module):
        for source in inside:
            if source.parts(lengths) not in (None, lengths):
                yield _rule(path, module, f"{attribute}[:]", source, up)


def _rule(
    path: str, module: nn.Module, attribute: str, source: ShrunkAxis, up: int
) -> AttributeRule:
    return AttributeRule(
        type(module).__name__,
        attribute,
        _relative(source.parameter, path, up),
        source.axis,
        source.nodes,
        source.offset,
        up,
    )


def _together(singles: Sequence[Adjustment]) -> Iterator[Adjustment]:
    """Yield joint adjustments of integers with common nodes: of one list, of one class."""
    lists: dict[tuple[str, ...], list[Adjustment]] = defaultdict(list)
    classes: dict[tuple[str, ...], list[Adjustment]] = defaultdict(list)
    for each in singles:
        for rule in each.rules:
            if isinstance(rule, AttributeRule) and rule.nodes:
                if not each.kind[1]:
                    classes[rule.module, rule.nodes].append(each)
                name, bracket, _ = rule.attribute.partition("[")
                if bracket:
                    lists[rule.module, rule.nodes, name].append(each)
    for found in (*lists.values(), *classes.values()):
        rules: list[RuleOrHint] = []
        effect: dict[tuple[str, str], int] = {}
        for each in found:
            if not effect.keys() & each.effect.keys():
                rules += each.rules
                effect |= each.effect
        if len(rules) > 1:
            yield Adjustment(tuple(rules), effect)


class _Near:
    """The shrinking axes nearest to each module: below the module, below its parent, …."""

    def __init__(self, model: nn.Module, shrinking: Sequence[ShrunkAxis]) -> None:
        self.below: dict[str, dict[object, ShrunkAxis]] = defaultdict(dict)
        for source in shrinking:
            parts = source.parameter.split(".")
            for depth in range(len(parts)):
                key = (source.size, source.left, source.multiples, source.kept)
                self.below[".".join(parts[:depth])].setdefault(key, source)

    def of(self, path: str, module: nn.Module) -> tuple[int, list[ShrunkAxis]]:
        """Return the number of levels up to the nearest axes, and these axes, one of each kind.

        A module with parameters is concerned only by those that it holds itself, one without (the
        core of an attention, a rearrangement) by those around it.
        """
        up = 0
        while path and path not in self.below and next(module.parameters(), None) is None:
            path, up = path.rpartition(".")[0], up + 1
        return up, list(self.below.get(path, {}).values())


def _above(path: str, up: int) -> str:
    for _ in range(up):
        path = path.rpartition(".")[0]
    return path


def _relative(parameter: str, path: str, up: int) -> str:
    above = _above(path, up)
    return parameter[len(above) + 1 :] if above else parameter


def adjustment(
    model: nn.Module, rule: AttributeRule, shrinking: Sequence[ShrunkAxis]
) -> Adjustment:
    """Return the adjustment of one rule in all modules of its class, empty if none matches."""
    axes = {(each.parameter, each.axis, each.nodes, each.offset): each for each in shrinking}
    effect: dict[tuple[str, str], int] = {}
    for path, module in model.named_modules():
        if type(module).__name__ == rule.module:
            above = _above(path, rule.up)
            name = f"{above}.{rule.parameter}" if above else rule.parameter
            source = axes.get((name, rule.axis, rule.nodes, rule.offset))
            if source is not None:
                effect |= {(path, name): new for name, new in _followed(module, rule, source)}
    return Adjustment((rule,), effect)


def _followed(
    module: nn.Module, rule: AttributeRule, source: ShrunkAxis
) -> Iterator[tuple[str, int]]:
    """Yield the integers of one module that a rule changes, with their new values."""
    found = dict(integers(module))
    if not rule.attribute.endswith("[:]"):
        value = found.get(rule.attribute)
        new = None if value is None else source.followed(value)
        if new is not None and new != value:
            yield rule.attribute, new
        return
    name = rule.attribute.removesuffix("[:]")
    lengths = dict(integer_lists(module)).get(name, [])
    for index, new in enumerate(source.parts(lengths) or []):
        if new != lengths[index]:
            yield f"{name}[{index}]", new
