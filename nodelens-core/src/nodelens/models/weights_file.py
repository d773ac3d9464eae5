"""Loading of a weights file into a user's model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nodelens.errors import ModelError, RunError
from nodelens.storage.tensors import read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 3


def load_weights(module: nn.Module, path: str) -> None:
    """Load a safetensors state dict; raises `ModelError` that lists unfit names and shapes."""
    try:
        state = read_state(Path(path))
    except RunError as error:
        raise ModelError(f"model.weights: {error}") from error
    problems = _mismatches(module.state_dict(), state)
    if problems:
        raise ModelError(f"model.weights: {path} does not fit the model: {'; '.join(problems)}")
    module.load_state_dict(state)


def _mismatches(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{name} has the shape {tuple(given[name].shape)}, the model's is {tuple(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    return [
        *_listed("missing in the file", [name for name in own if name not in given]),
        *_listed("not in the model", sorted(name for name in given if name not in own)),
        *shapes[:_SHOWN],
    ]


def _listed(what: str, names: Collection[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(list(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {shown}{more}"]
