"""Logits of one class or token per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nodelens.capture.losses import logits_of
from nodelens.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch

_POSITIONS = 3
"""The number of axes of outputs with a prediction per position, ``(rows, positions, classes)``."""


def class_number(index: int | str, names: Sequence[str]) -> int:
    """Return the number of a class by its name; raises `ConfigError` for an unknown one."""
    if isinstance(index, int):
        return index
    if index not in names:
        known = did_you_mean(index, names) if names else "; no names are known: give its number"
        raise ConfigError([f"target: no class is called {index!r}{known}"])
    return list(names).index(index)


def row_logits(output: Any, batch: Batch, position: str | None) -> Tensor:
    """Return logits ``(rows, classes)``; raises `DataError` for outputs of another shape.

    Of a prediction per position the last one that is no padding is taken, or the sum over all that
    count. Without `position` there must be one prediction per row.
    """
    logits = logits_of(output)
    if logits.ndim == 2:
        return logits
    if logits.ndim != _POSITIONS or position is None:
        wanted = "(rows, classes)" + (" or (rows, positions, classes)" if position else "")
        raise DataError(
            f"target: outputs of shape {tuple(logits.shape)}, expected {wanted}; give a function "
            "of (output, batch) that returns one number per row"
        )
    counted = _counted(batch, logits)
    if position == "all":
        return logits.masked_fill(~counted.unsqueeze(-1), 0.0).sum(1)
    last = torch.arange(logits.shape[1], device=logits.device).where(counted, -1).amax(1)
    return logits[torch.arange(len(logits), device=logits.device), last]


def _counted(batch: Batch, logits: Tensor) -> Tensor:
    for mask in (batch.decoder_mask, batch.mask):
        if mask is not None and mask.shape == logits.shape[:2]:
            return mask.bool().to(logits.device)
    return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)


def logit_of(logits: Tensor, index: int | str) -> Tensor:
    """Return one column of logits; raises `DataError` for a number without an output."""
    if isinstance(index, str):
        raise DataError(f"target: {index!r} is a name; give class_names=[…], or its number")
    if not 0 <= index < logits.shape[1]:
        raise DataError(f"target: there is no output {index}; the model has {logits.shape[1]}")
    return logits[:, index]
