"""Reading and setting the integers in modules' own attributes and configs."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from nodelens.removal.attributes import is_standard

if TYPE_CHECKING:
    from nodelens.removal.journal import Journal

_OWN = frozenset(vars(nn.Module()))
_PLACE = re.compile(r"(?P<config>config\.)?(?P<name>\w+)(\[(?P<index>\d+)\])?")

Effect = Mapping[tuple[str, str], int]
"""New values by module path and attribute."""


def integer_lists(module: nn.Module) -> Iterator[tuple[str, list[int]]]:
    """Yield the lists and tuples of integers among a module's own attributes."""
    if is_standard(module):
        return
    for name, value in vars(module).items():
        full = name not in _OWN and isinstance(value, tuple | list) and value
        if full and all(type(entry) is int for entry in value):
            yield name, list(value)


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
    """Whether all modules of one class that share a config need one value of its field."""
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


def _with(holder: object, place: re.Match[str], value: int) -> Any:
    old = getattr(holder, place["name"])
    if place["index"] is None:
        return value
    index = int(place["index"])
    entries = (*old[:index], value, *old[index + 1 :])
    return list(entries) if isinstance(old, list) else entries
