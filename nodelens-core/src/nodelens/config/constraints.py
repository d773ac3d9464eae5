"""What attrs validators demand, read once for the converter, sentences and the JSON Schema."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, get_args, get_origin

from attrs import evolve, field, frozen


@frozen
class Bound:
    """A comparison with a number, in words and as a keyword of JSON Schema."""

    holds: Callable[[float, float], bool]
    words: str
    keyword: str


BOUNDS: Mapping[str, Bound] = {
    ">=": Bound(operator.ge, "of at least", "minimum"),
    ">": Bound(operator.gt, "above", "exclusiveMinimum"),
    "<=": Bound(operator.le, "at most", "maximum"),
    "<": Bound(operator.lt, "below", "exclusiveMaximum"),
}
"""The bounds of numbers by their sign, in the order of sentences."""


MOST = 2**63 - 1
"""The largest whole number, up or down, that a config may hold: 64 bits with a sign."""


_WRITTEN: ContextVar[bool] = ContextVar("written", default=False)


@contextmanager
def written_values() -> Iterator[None]:
    """Let values that a run wrote be any number and text, as those of data and errors may be."""
    token = _WRITTEN.set(True)
    try:
        yield
    finally:
        _WRITTEN.reset(token)


def impossible(value: Any) -> str:
    """Return why no option can have a number or a text, as the end of a sentence; empty if it can.

    The text names files, nodes or plugins, and none of them have a NUL or half a character.
    """
    if _WRITTEN.get():
        return ""
    if isinstance(value, int) and abs(value) > MOST:
        return f"which is beyond {MOST}"
    if isinstance(value, str) and "\0" in value:
        return "which holds a NUL character"
    if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
        return "which holds half a character (a lone surrogate)"
    return ""


@frozen(eq=False)
class Constraints:
    """Limits of one value; None where there is none.

    No two are equal: `typing` gives the type that it made first for every equal one, and types that
    differ in ``0`` and ``0.0``, or in the order of their parts, would take each other's words.
    `bounds` are numbers by their sign, such as ``{">=": 0}``. `pattern` has to match a whole text,
    and `expected` stands for the pattern in sentences. `shortest` and `longest` limit lists and
    texts, `items` what is in a list.
    """

    bounds: Mapping[str, float] = field(factory=dict)
    pattern: str | None = None
    shortest: int | None = None
    longest: int | None = None
    choices: tuple[Any, ...] | None = None  # Any: YAML values
    items: Constraints | None = None
    expected: str = ""

    def allow(self, value: Any) -> bool:
        """Say whether a number, a text or a list lies within the limits; NaN lies within none."""
        if impossible(value):
            return False
        if isinstance(value, int | float):
            return all(BOUNDS[sign].holds(value, bound) for sign, bound in self.bounds.items())
        if not isinstance(value, str | list):
            return True
        if self.pattern is not None and not re.fullmatch(self.pattern, str(value)):
            return False
        long_enough = self.shortest is None or len(value) >= self.shortest
        return long_enough and (self.longest is None or len(value) <= self.longest)


def split(kind: Any) -> tuple[Any, Constraints]:
    """Return a type without its limits, and these; see `nodelens.config.class_keys.limited`."""
    return get_args(kind) if get_origin(kind) is Annotated else (kind, Constraints())


def read_constraints(validator: object | None, expected: str = "") -> Constraints:
    """Return what is known about a validator made of attrs' own ones.

    Others (functions, plugin classes) add nothing here; they are run when the class is built.
    """
    found = Constraints(expected=expected)
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
        case "_NumberValidator" if part.compare_op in BOUNDS:
            return evolve(found, bounds={**found.bounds, part.compare_op: part.bound})
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
