"""Overrides: ``key.path=value`` on top of a config, values read by the same YAML rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from nodelens.config.raw import KeyPath, Marks, RawConfig, dotted
from nodelens.config.schema import SECTIONS, is_component
from nodelens.config.yaml12 import parse
from nodelens.errors import ConfigError, did_you_mean


@frozen
class Override:
    """One value for one path; `marks` are relative to the path."""

    keys: tuple[str, ...]
    value: Any  # Any: YAML values
    marks: Mapping[KeyPath, str]

    @property
    def place(self) -> str:
        """What errors show in place of a file and a line."""
        return self.marks[()]


def parse_override(text: str) -> Override:
    """Return the override that ``key.path=value`` says; a sweep's key may itself hold dots."""
    place = f"command line: {text}"
    left, equals, right = text.partition("=")
    keys = tuple(left.strip().split("."))
    if not equals or not all(keys):
        raise ConfigError([f"{place}: an override is written key.path=value"])
    if keys[0] == "sweep" and len(keys) > 2:
        keys = ("sweep", ".".join(keys[1:]))
    value, marks = parse(right, lambda line: place)
    return Override(keys, value, marks.places)


def apply_overrides(raw: RawConfig, overrides: Sequence[str]) -> RawConfig:
    """Return `raw` with every override put in, in order; all mistakes are reported together."""
    problems: list[str] = []
    for text in overrides:
        try:
            raw = assign(raw, parse_override(text))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return raw


def assign(raw: RawConfig, override: Override) -> RawConfig:
    """Return `raw` with one value replaced or added; missing mappings on the way are made.

    A component that is a bare name becomes a mapping with that name when one of its options is
    set. Raises `nodelens.errors.ConfigError` when the path leads nowhere.
    """
    known = [*SECTIONS, "sweep"]
    if override.keys[0] not in known:
        hint = did_you_mean(override.keys[0], known)
        raise ConfigError([f"{override.place}: {override.keys[0]!r} is not a section{hint}"])
    path = _locate(raw.value, override)
    places = raw.marks.outside([path])
    for length in range(1, len(path)):
        places.setdefault(path[:length], override.place)
    places.update({(*path, *rest): place for rest, place in override.marks.items()})
    return RawConfig(_put(raw.value, path, (), override.value), Marks(places))


def _locate(value: Any, override: Override) -> KeyPath:
    """Return the path with list positions as numbers, after checking that it leads somewhere."""
    path: KeyPath = ()
    for key in override.keys:
        value = [] if value is None and key.isdecimal() else _opened(value, path)
        if isinstance(value, list):
            position = _position(key, value, path, override)
            path, value = (*path, position), value[position]
        elif isinstance(value, dict):
            path, value = (*path, key), value.get(key)
        else:
            at = dotted(path)
            raise ConfigError([f"{override.place}: {at} is {value!r}, which has no {key!r} inside"])
    return path


def _opened(value: Any, path: KeyPath) -> Any:
    """Return what has keys: a bare component name as a mapping, nothing as an empty mapping."""
    if isinstance(value, str) and is_component(path):
        return {"name": value}
    return {} if value is None else value


def _position(key: str, items: list[Any], path: KeyPath, override: Override) -> int:
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    at = dotted(path)
    if not items:
        raise ConfigError([f"{override.place}: {at} is an empty list; give it whole: {at}=[…]"])
    span = f"from 0 to {len(items) - 1}" if len(items) > 1 else "only 0"
    raise ConfigError(
        [f"{override.place}: {at} is a list; its items are numbered, {span}, not {key!r}"]
    )


def _put(
    current: Any,
    path: KeyPath,
    above: KeyPath,
    value: Any,
) -> Any:
    if not path:
        return value
    key, current = path[0], _opened(current, above)
    if isinstance(current, list) and isinstance(key, int):
        item = _put(current[key], path[1:], (*above, key), value)
        return [*current[:key], item, *current[key + 1 :]]
    return {**current, key: _put(current.get(key), path[1:], (*above, key), value)}
