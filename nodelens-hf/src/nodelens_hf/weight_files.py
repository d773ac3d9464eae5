"""Checks that the weight files of a folder are complete and belong to the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_INDEX = "model.safetensors.index.json"
_MOST_MISSING = 0.5
"""Fraction of a model's numbers above which missing weights are not a new head."""


def check_files(folder: Path) -> None:
    """Raise `ModelError` for an incomplete weight file, or a missing one that the index names."""
    from safetensors import SafetensorError, safe_open

    for name in _listed(folder):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: {_INDEX} names {name}, which is not there; copy it again")
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: not a whole file ({error}); copy it again") from error


def _listed(folder: Path) -> list[str]:
    """Return the files in the index of a sharded model; none for a model in one file."""
    index = folder / _INDEX
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return []
    try:
        found: Any = json.loads(index.read_text())["weight_map"]
        return sorted(set(found.values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not the index of a sharded model; copy it again") from error


def check_weights(source: str, task: str, model: nn.Module, loaded: Mapping[str, Any]) -> None:
    """Raise `ModelError` where most of a model's numbers were not in its files."""
    sizes = {name: each.numel() for name, each in model.named_parameters()}
    missing = [name for name in loaded["missing_keys"] if name in sizes]
    fraction = sum(sizes[name] for name in missing) / max(1, sum(sizes.values()))
    if fraction <= _MOST_MISSING:
        return
    unused = sorted(loaded.get("unexpected_keys") or ())
    shown = f" and has {', '.join(unused[:2])}, which it does not know" if unused else ""
    raise ModelError(
        f"{source}: it has no weights for {len(missing)} of the {len(sizes)} parameters of "
        f"{type(model).__name__}{shown}; give the weights of this architecture (config.json says "
        f"which), or the task that they are for (now {task})"
    )
