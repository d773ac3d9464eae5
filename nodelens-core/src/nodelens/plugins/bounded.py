"""Bounds around code of plugins: what it raises is its own fault, and what it takes is told."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nodelens.errors import PluginError, TerminationError
from nodelens.plugins.reasons import reason

PATIENCE = 5.0
"""Seconds of work of one plugin after which it is named on stderr."""


class _Pressed(KeyboardInterrupt):
    """An interrupt by the user; a plugin can raise `KeyboardInterrupt` itself."""


@contextmanager
def bounded(doing: str, advice: str) -> Iterator[None]:
    """Run code of a plugin, whose exceptions of any sort become those that the caller catches.

    An exception that is no `Exception`, such as `SystemExit`, becomes a `PluginError`. Ctrl-C and
    the termination of the run pass. Code that takes longer than some seconds is told on stderr.
    """
    text = f"{doing} takes more than {PATIENCE:g} s; {advice}"
    timer = threading.Timer(PATIENCE, _tell, [text])
    timer.daemon = True
    timer.start()
    try:
        with _own_interrupts():
            yield
    except (_Pressed, TerminationError, Exception):
        raise
    except BaseException as error:
        raise PluginError(reason(error)) from error
    finally:
        timer.cancel()


def _tell(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Distinguish Ctrl-C from a `KeyboardInterrupt` that code raises, in the main thread."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise _Pressed
