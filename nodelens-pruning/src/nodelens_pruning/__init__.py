"""Pruning methods for NodeLens: named methods, allocation and selection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodelens_pruning.allocation import allocate as allocate
    from nodelens_pruning.methods import MagnitudePruner as MagnitudePruner
    from nodelens_pruning.methods import RandomPruner as RandomPruner
    from nodelens_pruning.methods import ScorePruner as ScorePruner
    from nodelens_pruning.methods import TaylorPruner as TaylorPruner
    from nodelens_pruning.selection import select as select

_HOMES = {
    "ScorePruner": "methods",
    "MagnitudePruner": "methods",
    "RandomPruner": "methods",
    "TaylorPruner": "methods",
    "allocate": "allocation",
    "select": "selection",
}

__all__ = ["MagnitudePruner", "RandomPruner", "ScorePruner", "TaylorPruner", "allocate", "select"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"nodelens_pruning.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
