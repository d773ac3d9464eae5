"""Which nodes of a neural network matter, and how do you know?

The public names are imported when they are first used, so that ``import nodelens`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodelens.api import run, run_all, score
    from nodelens.errors import NodelensError
    from nodelens.graph import infer
    from nodelens.plugins.hookspecs import hookimpl
    from nodelens.scoring.scores import Scores

    __version__: str

__all__ = [
    "NodelensError",
    "Scores",
    "__version__",
    "hookimpl",
    "infer",
    "run",
    "run_all",
    "score",
]

_HOMES = {
    "NodelensError": "nodelens.errors",
    "Scores": "nodelens.scoring.scores",
    "hookimpl": "nodelens.plugins.hookspecs",
    "infer": "nodelens.graph",
    "run": "nodelens.api",
    "run_all": "nodelens.api",
    "score": "nodelens.api",
}


def __getattr__(name: str) -> object:
    """Import and return a public name (PEP 562)."""
    if name == "__version__":
        from nodelens.version import installed_version

        return installed_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return all public names, imported or not."""
    return sorted({*globals(), *__all__})
