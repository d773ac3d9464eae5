"""Rank and world size from torchrun's environment; light, for the command line."""

from __future__ import annotations

import os

_SET = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def launched() -> tuple[int, int]:
    """Return the rank of this process and the world size; ``(0, 1)`` without torchrun."""
    if not os.environ.keys() >= _SET:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def launched_here() -> tuple[int, int]:
    """Return the rank and the number of processes on this machine."""
    if launched()[1] == 1:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
