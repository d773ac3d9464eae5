"""Progress of long tasks: one callback for everything that takes time."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; cheap, may be called often; total 0: unknown."""


def silent(what: str, done: int, total: int) -> None:
    """Report no progress."""
