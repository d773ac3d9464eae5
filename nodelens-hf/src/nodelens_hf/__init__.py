"""Hugging Face models for NodeLens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodelens_hf.saving import load, save

__all__ = ["load", "save"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what is imported when it is asked for
    if name in __all__:
        from nodelens_hf import saving

        return getattr(saving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
