"""Hugging Face models for NodeLens."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodelens_hf.harness import lm_eval
    from nodelens_hf.multiple_choice_task import multiple_choice
    from nodelens_hf.saving import load, save
    from nodelens_hf.text_loss import perplexity

__all__ = ["lm_eval", "load", "multiple_choice", "perplexity", "save"]

_MODULES = {
    "lm_eval": "harness",
    "multiple_choice": "multiple_choice_task",
    "perplexity": "text_loss",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'saving')}"), name)
