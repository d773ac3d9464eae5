"""Hugging Face models for NodeLens."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodelens_hf.api import lm_eval, multiple_choice, perplexity
    from nodelens_hf.saving import load, save

__all__ = ["lm_eval", "load", "multiple_choice", "perplexity", "save"]

_SAVING = ("load", "save")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'saving' if name in _SAVING else 'api'}"), name)
