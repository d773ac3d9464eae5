"""Record of the code that came with a model and was run."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_PACKAGE = "transformers_modules."
"""Package from which transformers imports the code of models, a copy in the hub's cache."""


def is_remote(model: nn.Module) -> bool:
    """Return whether the class of a model came with its weights."""
    return type(model).__module__.startswith(_PACKAGE)


def remote_files(model: nn.Module) -> str:
    """Return the names of the files of code that came with a model, each with its SHA-256."""
    folder = Path(inspect.getfile(type(model))).parent
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    return ", ".join(f"{path.name} sha256:{_digest(path)}" for path in files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
