"""A config as it was written: plain values, and where each of them stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

KeyPath = tuple[str | int, ...]
"""Where a value is: mapping keys and list positions from the top, ``("metrics", 0, "top")``."""

UNKNOWN_PLACE = "config"


def dotted(path: KeyPath) -> str:
    """Return the path as users write it in overrides: ``metrics.0.top``."""
    return ".".join(str(key) for key in path)


@frozen
class Marks:
    """Where every key and list item was written, by its path."""

    places: Mapping[KeyPath, str] = field(factory=dict)

    def of(self, path: KeyPath) -> str:
        """Return ``file:line`` of the value at `path`, or of the closest thing around it."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                return place
        return UNKNOWN_PLACE

    def outside(self, paths: Sequence[KeyPath]) -> dict[KeyPath, str]:
        """Return the places of everything that lies neither at nor under one of `paths`."""
        gone = set(paths)
        return {
            path: place
            for path, place in self.places.items()
            if not any(path[:length] in gone for length in range(len(path) + 1))
        }

    def under(self, path: KeyPath) -> dict[KeyPath, str]:
        """Return the places at and under `path`, by the path that remains below it."""
        size = len(path)
        return {key[size:]: place for key, place in self.places.items() if key[:size] == path}


@frozen
class RawConfig:
    """A config before it is checked: nested dicts and lists of YAML scalars, with their marks."""

    value: dict[str, Any]  # Any: YAML values
    marks: Marks = Marks()

    def without(self, key: str) -> RawConfig:
        """Return the config without one top-level key."""
        value = {name: item for name, item in self.value.items() if name != key}
        return RawConfig(value, Marks(self.marks.outside([(key,)])))


@frozen
class Problem:
    """One mistake, at the path of the value (or key) that it is about, with what to do about it."""

    path: KeyPath
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """``path: message; hint``."""
        sentence = f"{self.message}; {self.hint}" if self.hint else self.message
        return f"{dotted(self.path)}: {sentence}" if self.path else sentence

    def line(self, marks: Marks) -> str:
        """Return ``file:line: path: message; hint``."""
        return f"{marks.of(self.path)}: {self.text}"
