"""Checking the section that chooses which plugins are loaded.

Read by hand: a list, one text and a mapping mean the same, each with places of its own.
"""

from __future__ import annotations

from typing import Any

from nodelens.config.plugin_requirements import EXPECTED, PluginRequirement
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.schema import PluginSettings
from nodelens.config.words import given
from nodelens.errors import PluginError, did_you_mean


def check_plugins(value: Any, problems: list[Problem]) -> PluginSettings:
    """Return what ``plugins:`` says: a list of plugins, one, or ``{only, disable}``."""
    if value is None:
        return PluginSettings()
    if isinstance(value, dict):
        return _from_mapping(value, problems)
    return PluginSettings(only=_names(value, ("plugins",), problems))


def _from_mapping(value: dict[str, Any], problems: list[Problem]) -> PluginSettings:
    found = {}
    for key, item in value.items():
        if key in ("only", "disable"):
            found[key] = _names(item, ("plugins", key), problems)
        else:
            hint = did_you_mean(key, ["only", "disable"])
            problems.append(Problem(("plugins", key), f"unknown key{hint}"))
    return PluginSettings(**found)


def _names(value: Any, path: KeyPath, problems: list[Problem]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        message = f"expected a list of plugins, got {given(value)}"
        problems.append(Problem(path, message, "leave the key out to load all that are installed"))
        return ()
    before = len(problems)
    for position, item in enumerate(value):
        if not isinstance(item, str) or not _is_requirement(item):
            hint = "" if isinstance(item, str | list | dict) else "put it in quotes"
            words = f"expected {EXPECTED}, got {given(item)}"
            problems.append(Problem((*path, position), words, hint))
    return tuple(value) if len(problems) == before else ()


def _is_requirement(text: str) -> bool:
    try:
        PluginRequirement.parse(text)
    except PluginError:
        return False
    return True
