"""Which plugins stay out, decided from their names and versions before anything is imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.config.schema import PluginSettings
from nodelens.errors import PluginError, did_you_mean
from nodelens.plugins.discovery import Candidate
from nodelens.plugins.records import canonical
from nodelens.version import DISTRIBUTION

if TYPE_CHECKING:
    from packaging.requirements import Requirement

VARIABLE = "NODELENS_BLOCK_PLUGINS"
"""Environment variable: distributions or ``distribution:entry``, separated by commas."""

_log = logging.getLogger(__name__)


@frozen
class Selection:
    """What is kept out and why; `only` holds the distributions that may come in, None means all."""

    blocked: Mapping[str, str]
    only: frozenset[str] | None

    def reason(self, candidate: Candidate) -> str:
        """Return why a plugin stays out, or nothing."""
        if candidate.is_core:
            return ""
        for name in (candidate.name, candidate.distribution):
            if name in self.blocked:
                return self.blocked[name]
        if self.only is not None and candidate.distribution not in self.only:
            return "not among the plugins that the config names"
        return ""


def select(
    candidates: Sequence[Candidate], settings: PluginSettings, block: Sequence[str]
) -> Selection:
    """Return what stays out of `candidates`.

    Raises `PluginError` for a plugin to block that is not installed, for the core, and for a
    distribution in ``settings.only`` that is missing or has another version.
    """
    named = [name for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    sources = {
        "disabled by the config": settings.disable,
        f"blocked by {VARIABLE}": named,
        "blocked by --no-plugin": block,
    }
    blocked = {_key(name): reason for reason, names in sources.items() for name in names}
    if DISTRIBUTION in {name.partition(":")[0] for name in blocked}:
        raise PluginError(f"{DISTRIBUTION} is the program itself and cannot be left out")
    _check_blocked(candidates, [_key(name) for name in block])
    for name in (*settings.disable, *named):
        _warn_unknown(candidates, name)
    return Selection(blocked, _only(candidates, settings.only))


def _key(name: str) -> str:
    distribution, colon, entry = name.strip().partition(":")
    return canonical(distribution) + colon + entry


def _names(candidates: Sequence[Candidate]) -> set[str]:
    return {name for candidate in candidates for name in (candidate.distribution, candidate.name)}


def _hint(candidates: Sequence[Candidate], name: str) -> str:
    known = _names(candidates) if ":" in name else {each.distribution for each in candidates}
    return did_you_mean(name, known - {DISTRIBUTION})


def _check_blocked(candidates: Sequence[Candidate], names: Sequence[str]) -> None:
    for name in names:
        if name not in _names(candidates):
            raise PluginError(
                f"cannot leave out {name!r}: no such plugin is installed{_hint(candidates, name)}"
            )


def _warn_unknown(candidates: Sequence[Candidate], name: str) -> None:
    """Say that a name keeps nothing out: settings may be shared by machines, so it is no error."""
    key = _key(name)
    if key not in _names(candidates):
        _log.warning("%r is to stay out but is not installed%s", key, _hint(candidates, key))


def _only(candidates: Sequence[Candidate], wanted: Sequence[str]) -> frozenset[str] | None:
    if not wanted:
        return None
    versions = {candidate.distribution: candidate.version for candidate in candidates}
    return frozenset(_installed(text, versions, candidates) for text in wanted)


def _installed(text: str, versions: Mapping[str, str], candidates: Sequence[Candidate]) -> str:
    """Return the distribution that a requirement names; raises `PluginError` unless it fits."""
    requirement = _requirement(text)
    name = canonical(requirement.name)
    wanted = f"{name}{requirement.specifier}"
    if name not in versions:
        raise PluginError(
            f"plugin {name} is not installed{_hint(candidates, name)}; "
            f"install it with: pip install '{wanted}'"
        )
    if not _fits(requirement, versions[name]):
        raise PluginError(
            f"plugin {name} {versions[name]} is installed, but {wanted} is asked for; "
            f"install it with: pip install '{wanted}'"
        )
    return name


def _requirement(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement:
        raise PluginError(
            f"{text!r} is not a distribution with an optional version range, "
            "such as nodelens-metrics>=0.1"
        ) from None


def _fits(requirement: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion

    if not requirement.specifier:
        return True
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False
