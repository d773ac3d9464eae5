"""What attrs validators demand, read once for error sentences, listings and the JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen


@frozen
class Constraints:
    """Limits of one value; None where there is none. `pattern` has to match the whole text."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    pattern: str | None = None
    shortest: int | None = None
    longest: int | None = None
    choices: tuple[Any, ...] | None = None  # Any: YAML values
    items: Constraints | None = None

    def number_words(self) -> str:
        """Return the bounds in words, with a space in front: `` of at least 0 and below 1``."""
        bounds = (
            ("of at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        words = [f"{word} {bound}" for word, bound in bounds if bound is not None]
        return " " + " and ".join(words) if words else ""

    def allow(self, number: float) -> bool:
        """Say whether a number lies within the bounds; NaN lies within no bound."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def allow_length(self, length: int) -> bool:
        """Say whether a list or a text is long enough and not too long."""
        long_enough = self.shortest is None or length >= self.shortest
        return long_enough and (self.longest is None or length <= self.longest)


NONE = Constraints()
_BOUNDS = {">=": "at_least", ">": "above", "<=": "at_most", "<": "below"}


def read_constraints(validator: object | None) -> Constraints:
    """Return what is known about a validator made of attrs' own ones.

    Others (functions, plugin classes) add nothing here; they are run when the class is built.
    """
    found = NONE
    for part in _parts(validator):
        found = _with(found, part)
    return found


def _parts(validator: object | None) -> Iterable[object]:
    if validator is None:
        return
    if type(validator).__name__ == "_AndValidator":
        for part in getattr(validator, "_validators", ()):
            yield from _parts(part)
    elif type(validator).__name__ == "_OptionalValidator":
        yield from _parts(getattr(validator, "validator", None))
    else:
        yield validator


def _with(found: Constraints, part: Any) -> Constraints:
    match type(part).__name__:
        case "_NumberValidator" if part.compare_op in _BOUNDS:
            return evolve(found, **{_BOUNDS[part.compare_op]: part.bound})
        case "_MatchesReValidator" if part.match_func.__name__ == "fullmatch":
            return evolve(found, pattern=part.pattern.pattern)
        case "_MinLengthValidator":
            return evolve(found, shortest=part.min_length)
        case "_MaxLengthValidator":
            return evolve(found, longest=part.max_length)
        case "_InValidator":
            return evolve(found, choices=tuple(part.options))
        case "_DeepIterable":
            inner = read_constraints(getattr(part, "iterable_validator", None))
            items = read_constraints(part.member_validator)
            return evolve(found, items=items, shortest=inner.shortest, longest=inner.longest)
    return found
