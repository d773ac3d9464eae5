"""The groups of a removal that can lose their nodes together, where some cannot.

The groups near the operation that failed are set aside until the others can be removed, and then
added again by bisection. Every set that is accepted has passed the whole equivalence check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from nodelens.removal.attempt import Performed, Refused, Request, attempt
from nodelens.removal.journal import Journal, undone_on_error
from nodelens.removal.slicing import Change

if TYPE_CHECKING:
    from torch import nn

_DIGITS = re.compile(r"\d+")
_Layers = tuple[object, ...]


@frozen(eq=False)
class Removable:
    """The changes that can be made together, and why others cannot, in the order of the search."""

    changes: tuple[Change, ...]
    refused: Mapping[str, Refused]


@frozen(eq=False)
class _Aside:
    """Changes set aside after the attempt at `tried` had failed."""

    suspects: tuple[Change, ...]
    tried: frozenset[str]
    result: Refused


def removable(request: Request, found: Sequence[Change], first: Refused) -> Removable:
    """Return the changes that can be made together, after all of them together were refused."""
    trials = _Trials(request, found)
    left, result = tuple(found), first
    aside: list[_Aside] = []
    while left:
        suspects = _suspects(trials, left, result)
        aside.append(_Aside(suspects, _names(left), result))
        left = tuple(each for each in left if each not in suspects)
        tried = trials.attempt(left) if left else None
        if not isinstance(tried, Refused):
            break
        result = tried
    for each in aside:
        known = each.result if _names((*left, *each.suspects)) == each.tried else None
        left = trials.added(left, each.suspects, known)
    order = [each for each in found if each in left]
    return Removable(tuple(order), trials.refused)


@define(eq=False)
class _Trials:
    """Attempts that are undone, and the groups that they have shown to be refused."""

    request: Request
    order: Sequence[Change]
    refused: dict[str, Refused] = field(factory=dict)
    layers: dict[_Layers, Refused] = field(factory=dict)

    def key(self, change: Change) -> _Layers:
        """Return what a group has in common with those of other layers."""
        return _layers(self.request.model, change)

    def attempt(self, found: Sequence[Change]) -> Performed | Refused:
        """Try to make all changes, and undo them."""
        journal, ordered = Journal(), [each for each in self.order if each in found]
        with undone_on_error(journal):
            result = attempt(self.request, ordered, journal)
            journal.undo()
        return result

    def added(
        self, base: tuple[Change, ...], more: tuple[Change, ...], known: Refused | None = None
    ) -> tuple[Change, ...]:
        """Return `base` with those of `more` that can be added to it; others become refused.

        `known` is the result of adding all of them, if they were tried. Where one is refused, the
        same groups of other layers are refused untried.
        """
        for each in more:
            if self.key(each) in self.layers:
                self.refused[each.group.name] = self.layers[self.key(each)]
        rest = tuple(each for each in more if each.group.name not in self.refused)
        if not rest:
            return base
        result = known if known and len(rest) == len(more) else self.attempt((*base, *rest))
        if isinstance(result, Performed):
            return (*base, *rest)
        if len(rest) == 1:
            self.refused[rest[0].group.name] = self.layers[self.key(rest[0])] = result
            return base
        half = len(rest) // 2
        return self.added(self.added(base, rest[:half]), rest[half:])


def _suspects(trials: _Trials, left: tuple[Change, ...], result: Refused) -> tuple[Change, ...]:
    """Return the changes near the failure, with the same groups of other layers beside each other.

    Where the failure is near all of them, one that fails is found by bisection.
    """
    close = near(left, result.trouble.module)
    if len(close) == len(left) > 1:
        close = [_culprit(trials, (), left)]
    kinds = {trials.key(each) for each in close}
    found = [each for each in left if trials.key(each) in kinds]
    return tuple(sorted(found, key=lambda each: str(trials.key(each))))


def _culprit(trials: _Trials, base: tuple[Change, ...], found: tuple[Change, ...]) -> Change:
    """Return one of the changes `found`, with which `base` and some of the others fail."""
    if len(found) == 1:
        return found[0]
    half = len(found) // 2
    if isinstance(trials.attempt((*base, *found[:half])), Refused):
        return _culprit(trials, base, found[:half])
    return _culprit(trials, (*base, *found[:half]), found[half:])


def near(found: Sequence[Change], place: str) -> Sequence[Change]:
    """Return the groups with parameters nearest to the module that failed or deviated."""
    while place:
        close = [
            change
            for change in found
            if any(part.parameter.startswith(f"{place}.") for part in change.group.slices)
        ]
        if close:
            return close
        place = place.rpartition(".")[0]
    return found


def _layers(model: nn.Module, change: Change) -> _Layers:
    """Return a key that is equal for the same group of layers with the same code and settings."""
    group = change.group
    names = sorted({part.parameter for part in group.slices})
    paths = sorted({path for name in names for path in _above(name)})
    owners = [_settings(model.get_submodule(path), path) for path in paths]
    return (group.kind, group.width, change.left, *(_DIGITS.sub("#", n) for n in names), *owners)


def _above(name: str) -> Iterator[str]:
    """Yield the paths of the modules that a parameter is in, without the model."""
    path = name.rpartition(".")[0]
    while path:
        yield path
        path = path.rpartition(".")[0]


def _settings(module: nn.Module, path: str) -> tuple[object, ...]:
    """Return the class of a module and its own settings, but for its number among the layers."""
    numbers = {int(number) for number in _DIGITS.findall(path)}
    own = (
        (name, value)
        for name, value in sorted(vars(module).items())
        if type(value) in (bool, float, str) or (type(value) is int and value not in numbers)
    )
    return (type(module), *own)


def _names(found: Iterable[Change]) -> frozenset[str]:
    return frozenset(each.group.name for each in found)
