"""Keys that were called something else: the earlier name stands with the field."""

from __future__ import annotations

RENAMED_FROM = "renamed_from"
"""The metadata of an attrs field under which the earlier name stands."""


def renamed(earlier: str) -> dict[str, str]:
    """Return the metadata of a field whose key was called `earlier`.

    The check of a config then answers the earlier key with the name that it has now.

    Example:
        ``stop_when: int = field(default=1, metadata=renamed("until"))``
    """
    return {RENAMED_FROM: earlier}
