"""Variants of a metric's options, drawn from their types and bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Any

import attrs

from nodelens.config.constraints import Constraints, read_constraints
from nodelens.scoring.shared_options import BESIDE, EXAMPLES


def drawn_variants(kind: type) -> list[dict[str, Any]]:
    """Return settings of the options of a metric class, each with one option changed.

    A yes-or-no option is turned, one of several words gets each other word, a number is moved
    towards a bound; an option with examples gets these. Options that have to be given, and texts
    and lists without examples, are left to the author.
    """
    return [
        {**beside, entry.name: value}
        for entry in attrs.fields(kind)
        for beside in entry.metadata.get(BESIDE, ({},))
        for value in _other_values(entry)
    ]


def required_options(kind: type) -> dict[str, Any]:
    """Return the first example of each option of a metric class that has to be given."""
    return {
        entry.name: entry.metadata[EXAMPLES][0]
        for entry in attrs.fields(kind)
        if entry.default is attrs.NOTHING and EXAMPLES in entry.metadata
    }


def _other_values(entry: attrs.Attribute[Any]) -> Iterator[Any]:
    limits = read_constraints(entry.validator)
    if EXAMPLES in entry.metadata:
        yield from entry.metadata[EXAMPLES]
    elif isinstance(entry.default, bool):
        yield not entry.default
    elif limits.choices is not None:
        yield from (choice for choice in limits.choices if choice != entry.default)
    elif entry.default is None or isinstance(entry.default, int):
        yield from _whole(entry.default, limits)
    elif isinstance(entry.default, float):
        yield _moved(entry.default, limits)


def _whole(default: int | None, limits: Constraints) -> Iterator[int]:
    """Yield a number between the default and the least value, or the next one above that."""
    least = limits.bounds.get(">=")
    if least is None:
        if default is not None:
            yield default + 1
    elif default is None or default <= least:
        yield int(least) + 1
    else:
        yield isqrt(int(max(least, 1)) * default)


def _moved(default: float, limits: Constraints) -> float:
    """Return a number halfway to the upper bound; without one, in another order of magnitude."""
    upper = limits.bounds.get("<=", limits.bounds.get("<"))
    if upper is not None:
        return (default + upper) / 2 if default < upper else default / 2
    return 100 * default if default else 0.5


def settings_that_differ(
    variants: Sequence[Mapping[str, Any]], option: str
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each setting that has an option, and that setting without the option."""
    for variant in variants:
        if option in variant:
            yield variant, {key: value for key, value in variant.items() if key != option}
