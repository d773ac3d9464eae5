"""The identity of the process that writes a run folder, and whether the process is alive."""

from __future__ import annotations

import platform

import psutil
from attrs import field, frozen, validators

_CLOCK = 60.0
"""Seconds that a process's start may differ by, as the clock may be set while it runs."""


@frozen
class Owner:
    """The process that writes a run folder: its id, its start in Unix seconds, its machine."""

    pid: int = field(validator=validators.ge(1))
    process: float
    host: str

    def alive(self) -> bool:
        """Return whether the process of this machine is alive.

        Process ids are used again, so that one that started at another time is another process.
        """
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process) < _CLOCK
            return same and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, OverflowError):
            return False
        except psutil.AccessDenied:
            return True


def this_process() -> Owner:
    """Return the identity of this process."""
    own = psutil.Process()
    return Owner(own.pid, own.create_time(), platform.node())
