"""The progress bars of transformers, switched off where a run shows its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers load and save without progress bars; afterwards they are as before."""
    from transformers.utils import logging as bars

    logging: Any = bars  # its functions are not annotated
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()
