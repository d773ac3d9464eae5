"""Checking the section that chooses which plugins are loaded."""

from __future__ import annotations

from typing import Any

from nodelens.config.constraints import Constraints
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.records import limited
from nodelens.config.schema import PluginSettings
from nodelens.config.structuring import fit
from nodelens.config.words import given
from nodelens.errors import did_you_mean

_NAME = limited(
    str,
    Constraints(
        pattern=r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", expected="the name of a distribution"
    ),
)


def check_plugins(value: Any, problems: list[Problem]) -> PluginSettings:
    """Return what ``plugins:`` says: a list of distributions, one, or ``{only, disable}``."""
    if value is None:
        return PluginSettings()
    if isinstance(value, dict):
        return _from_mapping(value, problems)
    return PluginSettings(only=_names(value, ("plugins",), True, problems))


def _from_mapping(value: dict[str, Any], problems: list[Problem]) -> PluginSettings:
    found = {}
    for key, item in value.items():
        if key in ("only", "disable"):
            found[key] = _names(item, ("plugins", key), key == "only", problems)
        else:
            hint = did_you_mean(key, ["only", "disable"])
            problems.append(Problem(("plugins", key), f"unknown key{hint}"))
    return PluginSettings(**found)


def _names(
    value: Any,
    path: KeyPath,
    ranges: bool,
    problems: list[Problem],
) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        message = f"expected a list of distributions, got {given(value)}"
        problems.append(Problem(path, message, "leave the key out to load all that are installed"))
        return ()
    before = len(problems)
    for position, item in enumerate(value):
        _check_name(item, (*path, position), ranges, problems)
    return tuple(value) if len(problems) == before else ()


def _check_name(item: Any, path: KeyPath, ranges: bool, problems: list[Problem]) -> None:
    if not ranges:
        fit(_NAME, item, path, problems)
    elif not isinstance(item, str) or not _is_requirement(item):
        words = "a distribution with an optional version range, such as nodelens-metrics>=0.1"
        problems.append(Problem(path, f"expected {words}, got {given(item)}"))


def _is_requirement(text: str) -> bool:
    """Say whether a text is a name with an optional version range, without extras or markers."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return False
    return not (requirement.extras or requirement.marker or requirement.url)
