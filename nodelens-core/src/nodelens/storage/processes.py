"""The identity of the process that writes a run folder, and whether the process is alive."""

from __future__ import annotations

import platform
from typing import Any

import psutil

_CLOCK = 60.0
"""Seconds that a process's start may differ by, as the clock may be set while it runs."""


def this_process() -> dict[str, Any]:
    """Return the fields of a run's record that identify the writing process."""
    own = psutil.Process()
    return {"pid": own.pid, "process": own.create_time(), "host": platform.node()}


def process_alive(pid: int, started: float) -> bool:
    """Return whether a process of the machine is alive; `started` is its start in Unix seconds.

    Process ids are used again, so that one that started at another time is another process.
    """
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _CLOCK
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
