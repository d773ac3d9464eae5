"""Installed plugins, read from the metadata of distributions without an import."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint, distribution, distributions
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.config.plugin_requirements import canonical
from nodelens.plugins.plugin_record import PluginRecord, PluginStatus
from nodelens.version import DISTRIBUTION, installed_version

if TYPE_CHECKING:
    from nodelens.plugins.specs import ComponentSpec

GROUP = "nodelens.plugins"
ENTRY_POINTS = "entry_points.txt"


@frozen
class Candidate:
    """An entry point that may be loaded, with its distribution.

    `problem` says why it cannot be loaded, where that is known beforehand.
    """

    distribution: str
    version: str
    entry_point: EntryPoint
    problem: str = ""

    @property
    def name(self) -> str:
        """``distribution:entry``."""
        return f"{self.distribution}:{self.entry_point.name}"

    @property
    def is_core(self) -> bool:
        """Whether the plugin is the core's own, which is always loaded."""
        return self.distribution == DISTRIBUTION

    def record(
        self, status: PluginStatus, reason: str = "", specs: tuple[ComponentSpec, ...] = ()
    ) -> PluginRecord:
        """Return the record of the plugin with its status."""
        target = self.entry_point.value
        return PluginRecord(
            self.name, self.distribution, self.version, status, reason, specs, target
        )


def discover() -> list[Candidate]:
    """Return every installed plugin and the core's own, sorted by distribution and entry.

    A distribution that is found twice counts as Python imports it: the first on the path.
    """
    names = {_name(each) for each in distributions() if _mentions_plugins(each)} - {""}
    found = [candidate for name in names for candidate in _candidates(name)]
    if not any(candidate.is_core for candidate in found):
        found.append(_core())
    return sorted(found, key=lambda candidate: (candidate.distribution, candidate.entry_point.name))


def _mentions_plugins(installed: Distribution) -> bool:
    """Return whether a distribution may bring plugins; broken metadata of others do no harm."""
    try:
        return GROUP in (installed.read_text(ENTRY_POINTS) or "")
    except (OSError, UnicodeDecodeError):
        return False


def _name(installed: Distribution) -> str:
    """Return the canonical name; empty where an incomplete removal has left no metadata."""
    known = installed.read_text("METADATA") or installed.read_text("PKG-INFO")
    return canonical(installed.metadata["Name"] or "") if known else ""


def _candidates(name: str) -> list[Candidate]:
    installed = distribution(name)
    version = installed.metadata["Version"] or "unknown"
    try:
        entries = installed.entry_points.select(group=GROUP)
    except (TypeError, ValueError):
        broken = EntryPoint(name=ENTRY_POINTS, value="", group=GROUP)
        return [Candidate(name, version, broken, "its entry_points.txt cannot be read")]
    return [Candidate(name, version, entry) for entry in entries]


def _core() -> Candidate:
    """Return the core's plugin for sources on the path that are not installed."""
    entry = EntryPoint(name="core", value="nodelens.plugins.builtin", group=GROUP)
    return Candidate(DISTRIBUTION, installed_version(), entry)
