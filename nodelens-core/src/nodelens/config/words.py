"""What a type expects of a YAML value, and what was given, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from attrs import has

from nodelens.config.class_keys import MAPPINGS, entries
from nodelens.config.constraints import BOUNDS, Constraints, impossible, split

UNIONS = (Union, UnionType)
NOUNS: Mapping[Any, tuple[str, str]] = {
    Any: ("anything", "anything"),
    object: ("anything", "anything"),
    NoneType: ("null", "nulls"),
    bool: ("true or false", "true or false values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
}
"""One value and several, by type."""


def words(kind: Any, many: bool = False) -> str:
    """Return what a type expects, for ``expected …`` or, with `many`, for ``a list of …``."""
    plain, limits = split(kind)
    origin, arguments = get_origin(plain), get_args(plain)
    if limits.expected:
        return limits.expected
    if plain in NOUNS:
        return NOUNS[plain][many] + _limits(limits)
    if origin in UNIONS:
        return ", or ".join(words(each, many) for each in arguments)
    if origin is Literal:
        return f"{'values out of' if many else 'one of'} {', '.join(map(repr, arguments))}"
    if has(plain):
        keys = ", ".join(entry.key for entry in entries(plain))
        return f"{'mappings' if many else 'a mapping'} with the keys {keys}"
    if origin in MAPPINGS:
        return f"{'mappings' if many else 'a mapping'} to {words(arguments[1], many=True)}"
    lists = "lists" if many else "a list"
    if origin is tuple and arguments[-1] is not Ellipsis:
        each = ", then ".join(words(argument) for argument in arguments)
        return f"{lists} of {_counted(len(arguments))} ({each})"
    return f"{lists} of {words(arguments[0], many=True)}{_size(limits)}"


def given(value: Any) -> str:
    """Return what was given, as a user recognises it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    reason = impossible(value)
    if isinstance(value, str):
        text = f"the text {value if len(value) <= 60 else value[:60] + '…'!r}"
    elif isinstance(value, int):
        text = str(value) if abs(value) < 10**40 else "a number of very many digits"
    if isinstance(value, str | int):
        return f"{text}, {reason}" if reason else text
    if isinstance(value, list):
        return f"a list of {_counted(len(value))}" if value else "an empty list"
    return "a mapping" if isinstance(value, dict) else str(value)


def _counted(items: int) -> str:
    return f"{items} item" + ("" if items == 1 else "s")


def _limits(limits: Constraints) -> str:
    """Return limits with a space in front: `` of at least 0 and below 1``."""
    bounds = [(each.words, limits.bounds.get(sign)) for sign, each in BOUNDS.items()]
    empty = "empty" if limits.shortest == 1 else None
    phrases = [*bounds, ("that matches", limits.pattern), ("that is not", empty)]
    found = [f"{phrase} {limit}" for phrase, limit in phrases if limit is not None]
    return " " + " and ".join(found) if found else ""


def _size(limits: Constraints) -> str:
    shortest, longest = limits.shortest, limits.longest
    if shortest is not None and longest is not None:
        return f" with {shortest} to {longest} items"
    if shortest is not None:
        return f" with at least {_counted(shortest)}"
    return "" if longest is None else f" with at most {_counted(longest)}"
