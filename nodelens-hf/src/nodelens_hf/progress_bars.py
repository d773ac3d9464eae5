"""The progress bars of transformers, switched off where a run shows its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers load and save without progress bars; the settings are restored."""
    from transformers.utils import logging as bars

    logging: Any = bars  # its functions are not annotated
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with _without_tqdm():
            yield
    finally:
        if before:
            logging.enable_progress_bar()


@contextmanager
def _without_tqdm() -> Iterator[None]:
    """Silence the progress bar of GGUF files, which ignores the settings of transformers."""
    try:
        module: Any = import_module("transformers.modeling_gguf_pytorch_utils")
        before = module.tqdm
    except (ImportError, AttributeError):
        yield
        return
    module.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        module.tqdm = before
