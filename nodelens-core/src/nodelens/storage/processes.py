"""Which process writes a run folder, and whether it still lives."""

from __future__ import annotations

import platform
from typing import Any

import psutil

_CLOCK = 60.0
"""Seconds that the clock may be set by while a process runs; its start is told by that clock."""


def this_process() -> dict[str, Any]:
    """Return what a run's record says of the process that writes it."""
    own = psutil.Process()
    return {"pid": own.pid, "process": own.create_time(), "host": platform.node()}


def process_alive(pid: int, started: float) -> bool:
    """Return whether a process of this machine lives that started at a time, in Unix seconds.

    Numbers of processes are used again, so that one that started at another time is another one.
    """
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _CLOCK
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
