"""SIGTERM as an error: a terminated run records it, whatever code is running."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nodelens.errors import TerminationError


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into a `TerminationError` while the context is open, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    raise TerminationError(
        "the run was terminated (SIGTERM), by a job scheduler, or by torchrun after another worker "
        "had failed, whose message then says why; continue with: nodelens run --resume"
    )
