"""The record of an installed plugin: its status and its offers."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from attrs import frozen

from nodelens.plugins.specs import ComponentSpec, Kind

PluginStatus = Literal["loaded", "blocked", "failed"]


@frozen
class PluginRecord:
    """One installed plugin and its status.

    Attributes:
        name: ``distribution:entry``, unique.
        distribution: the installed distribution that brings the plugin.
        version: the distribution's version.
        status: ``loaded``, ``blocked`` (never imported) or ``failed``.
        reason: one line that says why it is blocked or failed; empty for loaded plugins.
        specs: the components that it offers; empty unless it is loaded.
        target: the value of its entry point, ``module`` or ``module:attribute``.
    """

    name: str
    distribution: str
    version: str
    status: PluginStatus
    reason: str = ""
    specs: tuple[ComponentSpec, ...] = ()
    target: str = ""

    @property
    def entry(self) -> str:
        """The name of the entry point."""
        return self.name.rpartition(":")[2]

    @property
    def counts(self) -> dict[Kind, int]:
        """The number of offered components, by kind."""
        return dict(Counter(spec.kind for spec in self.specs))

    @property
    def line(self) -> str:
        """Name, version and status in one line, such as ``acme:main 1.2 failed: …``."""
        fate = f"{self.status}: {self.reason}" if self.reason else self.status
        return f"{self.name} {self.version} {fate}"

    def summary(self) -> dict[str, Any]:  # Any: JSON values
        """Return the record as JSON values, with the names that it offers by kind."""
        offers: dict[str, list[str]] = {}
        for spec in self.specs:
            offers.setdefault(spec.kind, []).append(spec.name)
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "status": self.status,
            "reason": self.reason or None,
            "offers": offers,
        }
