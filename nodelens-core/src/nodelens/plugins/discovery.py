"""Which plugins are installed: read from the metadata of distributions, nothing is imported."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from attrs import frozen

from nodelens.plugins.records import PluginRecord, Status, canonical
from nodelens.plugins.specs import ComponentSpec
from nodelens.version import DISTRIBUTION, installed_version

GROUP = "nodelens.plugins"
UNKNOWN = "unknown"
"""Stands for the name or version of a distribution whose metadata lacks it."""


@frozen
class Candidate:
    """An entry point that may be loaded, and the distribution that brings it."""

    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def name(self) -> str:
        """``distribution:entry``."""
        return f"{self.distribution}:{self.entry_point.name}"

    @property
    def is_core(self) -> bool:
        """Whether it is the core's own plugin, which is always loaded."""
        return self.distribution == DISTRIBUTION

    def record(
        self, status: Status, reason: str = "", specs: tuple[ComponentSpec, ...] = ()
    ) -> PluginRecord:
        """Return the record that says what became of it."""
        return PluginRecord(self.name, self.distribution, self.version, status, reason, specs)


def discover() -> list[Candidate]:
    """Return every installed plugin and the core's own, sorted by distribution and entry."""
    found = [_candidate(entry) for entry in entry_points(group=GROUP)]
    if not any(candidate.is_core for candidate in found):
        found.append(_core())
    return sorted(found, key=lambda candidate: (candidate.distribution, candidate.entry_point.name))


def _candidate(entry: EntryPoint) -> Candidate:
    name = _field(entry, "Name")
    return Candidate(canonical(name), _field(entry, "Version"), entry)


def _field(entry: EntryPoint, key: str) -> str:
    if entry.dist is None or key not in entry.dist.metadata:
        return UNKNOWN
    return entry.dist.metadata[key] or UNKNOWN


def _core() -> Candidate:
    """Return the core's plugin for sources that are on the path without being installed."""
    entry = EntryPoint(name="core", value="nodelens.plugins.builtin", group=GROUP)
    return Candidate(DISTRIBUTION, installed_version(), entry)
