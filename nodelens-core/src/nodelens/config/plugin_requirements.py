"""How people name plugins: a distribution, one of its entries, a range of versions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from nodelens.errors import PluginError

EXPECTED = (
    "a distribution with an optional entry and version range, "
    "such as nodelens-metrics:information>=0.1"
)
_FORM = re.compile(
    r"\s*(?P<distribution>[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)"
    r"\s*(:\s*(?P<entry>[^\s<>=!~:]+))?\s*(?P<versions>[<>=!~].*)?",
    re.ASCII,
)
_BETWEEN_NAMES = re.compile(r",(?!\s*[<>=!~])")


@frozen
class PluginRequirement:
    """The plugins of one distribution that a text such as ``acme:peaks>=1.2`` names.

    Attributes:
        distribution: the canonical name.
        entry: the one entry that is meant; empty for all of the distribution.
        versions: a version range; empty for any version.
    """

    distribution: str
    entry: str = ""
    versions: str = ""

    @classmethod
    def parse(cls, text: str) -> PluginRequirement:
        """Return what a text names; raises `PluginError` for a text of another form."""
        found = _FORM.fullmatch(text)
        if found is None or not _is_range(found["versions"] or ""):
            raise PluginError(f"{text!r} is not {EXPECTED}")
        versions = "".join((found["versions"] or "").split())
        return cls(canonical(found["distribution"]), found["entry"] or "", versions)

    @property
    def name(self) -> str:
        """``distribution``, or ``distribution:entry``."""
        return f"{self.distribution}:{self.entry}" if self.entry else self.distribution

    @property
    def wanted(self) -> str:
        """The distribution with the version range, as pip takes it."""
        return f"{self.distribution}{self.versions}"

    def __str__(self) -> str:
        return f"{self.name}{self.versions}"

    def names(self, plugin: str) -> bool:
        """Say whether ``distribution:entry`` is among what is named, whatever its version."""
        return self.name in (plugin, plugin.partition(":")[0])

    def fits(self, version: str) -> bool:
        """Say whether a version lies in the range; one that is no version lies in no range."""
        if not self.versions:
            return True
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion

        try:
            return SpecifierSet(self.versions).contains(version, prereleases=True)
        except InvalidVersion:
            return False


def listed_names(text: str) -> Sequence[str]:
    """Return the names in a list with commas; version ranges may hold commas too."""
    return [name for name in _BETWEEN_NAMES.split(text) if name.strip()]


def _is_range(text: str) -> bool:
    if not text:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def canonical(name: str) -> str:
    """Return the one form of all spellings of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
