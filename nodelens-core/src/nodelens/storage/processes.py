"""Which process writes a run folder, and whether it still lives."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Return what a run's record says of the process that writes it."""
    return {"pid": os.getpid(), "process": started_at(os.getpid()), "host": platform.node()}


def process_alive(pid: int, started: str | None) -> bool:
    """Return whether a process of this machine lives.

    Numbers of processes are used again, so that one that started at another time is another one.
    """
    now = started_at(pid)
    if started is not None and now is not None and now != started:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_at(pid: int) -> str | None:
    """Return when a process started, as Linux tells it; None where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return "ended" if state == "Z" else f"{boot} {fields[18]}"
