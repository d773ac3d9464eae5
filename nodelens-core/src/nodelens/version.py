"""Which version of NodeLens is running."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "nodelens-core"
NOT_INSTALLED = "0+not.installed"


def installed_version() -> str:
    """Return the version of nodelens-core, `NOT_INSTALLED` if it is not installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return NOT_INSTALLED
