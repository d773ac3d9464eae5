"""Selection of the plugins to load, from names and versions, before anything is imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.config.plugin_requirements import PluginRequirement, listed_names
from nodelens.errors import PluginError, did_you_mean
from nodelens.version import DISTRIBUTION

if TYPE_CHECKING:
    from nodelens.config.schema import PluginSettings
    from nodelens.plugins.discovery import Candidate

VARIABLE = "NODELENS_BLOCK_PLUGINS"
"""Environment variable with values of ``--no-plugin``, separated by commas."""

DISABLED = "disabled by the config"
BY_VARIABLE = f"blocked by {VARIABLE}"
BY_OPTION = "blocked by --no-plugin"
NOT_NAMED = "not among the plugins that the config names"

ADVICE: Mapping[str, str] = {
    DISABLED: "take it out of plugins.disable",
    BY_VARIABLE: f"take it out of {VARIABLE}",
    BY_OPTION: "leave that --no-plugin out",
    NOT_NAMED: "add it to 'plugins:'",
}
"""The way to load a plugin, by the reason why the plugin is blocked."""

_log = logging.getLogger(__name__)


@frozen
class Selection:
    """The plugins to block, with reasons; `only` holds the plugins to load, None means all."""

    blocked: Sequence[tuple[PluginRequirement, str]]
    only: Sequence[PluginRequirement] | None

    def reason(self, candidate: Candidate) -> str:
        """Return the reason why a plugin is blocked; empty if it is not."""
        if candidate.is_core:
            return ""
        for requirement, reason in self.blocked:
            if _is_meant(candidate, requirement):
                return reason
        if self.only is not None and not any(each.names(candidate.name) for each in self.only):
            return NOT_NAMED
        return ""


def select(
    candidates: Sequence[Candidate], settings: PluginSettings, block: Sequence[str]
) -> Selection:
    """Return the selection among `candidates`.

    Raises `PluginError` for a plugin to block that is not installed, for the core, and for a
    plugin in ``settings.only`` that is missing or has another version.
    """
    sources = {
        BY_OPTION: block,
        BY_VARIABLE: listed_names(os.environ.get(VARIABLE, "")),
        DISABLED: settings.disable,
    }
    parse = PluginRequirement.parse
    blocked = [(parse(name), reason) for reason, names in sources.items() for name in names]
    for requirement, reason in blocked:
        _check_blocked(candidates, requirement, reason)
    only = [parse(text) for text in settings.only]
    for requirement in only:
        _check_wanted(candidates, requirement)
    return Selection(blocked, only or None)


def _is_meant(candidate: Candidate, requirement: PluginRequirement) -> bool:
    return requirement.names(candidate.name) and requirement.fits(candidate.version)


def _check_blocked(
    candidates: Sequence[Candidate], requirement: PluginRequirement, reason: str
) -> None:
    """Raise `PluginError` for the core, and for an option that blocks nothing.

    Settings may be shared by machines, so that one that blocks nothing is only a warning.
    """
    if requirement.distribution == DISTRIBUTION:
        raise PluginError(f"{DISTRIBUTION} is the program itself and cannot be left out")
    if any(_is_meant(candidate, requirement) for candidate in candidates):
        return
    problem = _problem(candidates, requirement)
    if reason == BY_OPTION:
        raise PluginError(f"cannot leave out {str(requirement)!r}: {problem}")
    _log.warning("%r is to be blocked, but %s", str(requirement), problem)


def _check_wanted(candidates: Sequence[Candidate], requirement: PluginRequirement) -> None:
    """Raise `PluginError` unless a plugin is installed in a version that fits."""
    if not any(_is_meant(candidate, requirement) for candidate in candidates):
        raise PluginError(_problem(candidates, requirement) + _advice(candidates, requirement))


def _problem(candidates: Sequence[Candidate], requirement: PluginRequirement) -> str:
    """Return the reason why no plugin is meant: the distribution, the entry, or the version."""
    distribution, entry = requirement.distribution, requirement.entry
    known = {each.distribution for each in candidates} - {DISTRIBUTION}
    if distribution not in known | {DISTRIBUTION}:
        return f"plugin {distribution} is not installed{did_you_mean(distribution, known)}"
    found = [each for each in candidates if each.distribution == distribution]
    entries = [each.entry_point.name for each in found]
    if entry and entry not in entries:
        hint = did_you_mean(entry, entries)
        others = "" if hint.endswith(entries[-1]) else f" It has: {', '.join(entries)}"
        return f"{distribution} has no plugin {entry!r}{hint}{others}"
    return (
        f"plugin {distribution} {found[0].version} is installed, "
        f"but {requirement.wanted} is requested"
    )


def _advice(candidates: Sequence[Candidate], requirement: PluginRequirement) -> str:
    """Return the command that installs a requirement; empty where only the entry is wrong."""
    version = {each.distribution: each.version for each in candidates}
    installed = version.get(requirement.distribution)
    if installed is not None and requirement.fits(installed):
        return ""
    return f"; install it with: pip install '{requirement.wanted}'"
