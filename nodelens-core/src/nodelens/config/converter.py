"""The one cattrs converter: strict types, every mistake at its path, nothing guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from attrs import has
from cattrs import BaseValidationError, Converter

from nodelens.config.class_keys import ClassKey, entries
from nodelens.config.constraints import split
from nodelens.config.words import UNIONS, given, words
from nodelens.errors import NodelensError

Hook = Callable[[Any, Any], Any]
_CONTAINERS: Mapping[Any, type] = {dict: dict, list: list, tuple: list, set: list, frozenset: list}
_TAKEN: Mapping[Any, Any] = {
    **_CONTAINERS,
    NoneType: NoneType,
    bool: bool,
    int: int,
    float: int | float,
    str: str,
    Path: str,
}
"""What a value has to be, by the type that it becomes."""


class MismatchError(ValueError):
    """A value that is not what its type expects."""

    def __init__(self, kind: Any, value: Any) -> None:
        super().__init__(kind, value)
        self.kind, self.value = kind, value

    def __str__(self) -> str:
        """Return ``expected …, got …``."""
        return f"expected {words(self.kind)}, got {given(self.value)}"


class MissingKeyError(ValueError):
    """A key without a default that a mapping lacks."""

    def __init__(self, entry: ClassKey) -> None:
        super().__init__(f"the key {entry.key!r} is missing; it is {words(entry.kind)}")


class UnknownKeyError(ValueError):
    """A key that the class has not."""

    def __init__(self, cls: type) -> None:
        super().__init__(cls)
        self.cls = cls


class KeysError(ValueError):
    """What is wrong in a mapping: keys with their errors, in the order in which they stand."""

    def __init__(self, parts: list[tuple[Any, Exception]]) -> None:
        super().__init__(parts)
        self.parts = parts


REFUSALS = (ValueError, TypeError, NodelensError, BaseValidationError)
"""What structuring raises, own errors of a class among them."""


@cache
def converter() -> Converter:
    """Return the converter of configs, options, findings and records."""
    made = Converter()
    made.register_structure_hook_factory(has, _class)
    made.register_structure_hook_factory(_is_annotated, _checked)
    made.register_structure_hook_factory(_is_union, _union)
    made.register_structure_hook_factory(_is_tagged, _tagged)
    made.register_unstructure_hook_factory(_is_tagged, _tagging)
    return made


def _is_annotated(kind: Any) -> bool:
    return get_origin(kind) is Annotated


def _is_tagged(kind: Any) -> bool:
    """Say whether a type is a union of classes alone, whose values say their class as ``type``."""
    return get_origin(kind) in UNIONS and all(has(each) for each in get_args(kind))


def _tagged(kind: Any, made: Converter) -> Hook:
    classes = {each.__name__: each for each in get_args(kind)}

    def structure(value: Any, _: Any) -> Any:
        cls = classes.get(value.get("type")) if isinstance(value, dict) else None
        if cls is None:
            raise MismatchError(kind, value)
        return made.structure({key: item for key, item in value.items() if key != "type"}, cls)

    return structure


def _tagging(_: Any, made: Converter) -> Callable[[Any], Any]:
    return lambda value: {"type": type(value).__name__, **made.unstructure(value)}


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in UNIONS and not _is_tagged(kind)


def _checked(kind: Any, made: Converter) -> Hook:
    """Check a value from outside; cattrs structures what is in a container."""
    plain, limits = split(kind)
    origin = get_origin(plain) or plain
    if origin is Literal:
        return _choice(kind, get_args(plain))
    taken, truth = _TAKEN[origin], plain is bool
    inner = made.get_structure_hook(plain) if origin in _CONTAINERS else None

    def structure(value: Any, _: Any) -> Any:
        right = isinstance(value, taken) and (truth or not isinstance(value, bool))
        if not right or not limits.allow(value):
            raise MismatchError(kind, value)
        if inner is not None:
            return inner(value, plain)
        return plain(value) if plain in (float, Path) else value

    return structure


def _choice(kind: Any, choices: tuple[Any, ...]) -> Hook:
    def structure(value: Any, _: Any) -> Any:
        for choice in choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        raise MismatchError(kind, value)

    return structure


def _union(kind: Any, made: Converter) -> Hook:
    """Structure as the first type that fits; else one whose outside fits tells what is wrong."""
    arms = [(each, made.get_structure_hook(each)) for each in get_args(kind)]

    def structure(value: Any, _: Any) -> Any:
        inside = []
        for arm, hook in arms:
            try:
                return hook(value, arm)
            except MismatchError:
                continue
            except REFUSALS as error:
                inside.append(error)
        raise inside[0] if inside else MismatchError(kind, value)

    return structure


def _class(cls: Any, made: Converter) -> Hook:
    """Structure a mapping key by key; most of a check would go to code that cattrs generates."""
    known = {entry.key: entry for entry in entries(cls)}

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise MismatchError(cls, value)
        found: dict[str, Any] = {}
        parts: list[tuple[Any, Exception]] = []
        for key, item in value.items():
            if key not in known:
                parts.append((key, UnknownKeyError(cls)))
                continue
            try:
                found[key] = made.structure(item, known[key].kind)
            except REFUSALS as error:
                parts.append((key, error))
        missing = [each for key, each in known.items() if each.required and key not in value]
        parts += [(each.key, MissingKeyError(each)) for each in missing]
        if parts:
            raise KeysError(parts)
        return cls(**found)

    return structure
