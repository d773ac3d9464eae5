"""Pruning methods for NodeLens: allocation, selection and named methods."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodelens_pruning.allocation import allocate as allocate
    from nodelens_pruning.methods import ByScore as ByScore
    from nodelens_pruning.methods import Magnitude as Magnitude
    from nodelens_pruning.methods import Random as Random
    from nodelens_pruning.methods import Taylor as Taylor
    from nodelens_pruning.selection import select as select

_HOMES = {
    "ByScore": "methods",
    "Magnitude": "methods",
    "Random": "methods",
    "Taylor": "methods",
    "allocate": "allocation",
    "select": "selection",
}

__all__ = ["ByScore", "Magnitude", "Random", "Taylor", "allocate", "select"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"nodelens_pruning.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
