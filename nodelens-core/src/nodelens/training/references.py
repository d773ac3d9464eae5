"""Evaluation without labels: the distance of a changed model's outputs from the original ones.

For models without predictions (encoders), which have no loss: the measure of a position is one
minus the cosine of its output vector and that of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.errors import ModelError
from nodelens.model_state import evaluating

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch

DISTANCE = "cosine distance"
"""The unit of an evaluation against references."""


def vectors_of(output: Any) -> Tensor:
    """Return ``(rows, positions, features)`` of an output without logits.

    Its ``last_hidden_state``, the output itself or its first item; of maps the channels are
    features, and a vector per row is one position.
    """
    found = getattr(output, "last_hidden_state", output)
    if not isinstance(found, Tensor) and isinstance(output, Mapping):
        found = next(iter(output.values()), None)
    elif isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.ndim < 2 or not found.is_floating_point():
        raise ModelError(
            f"the model returned {type(output).__name__} without logits and without vectors, so "
            "that it cannot be evaluated"
        )
    if found.ndim == 2:
        return found.unsqueeze(1)
    return found if found.ndim == 3 else found.flatten(2).transpose(1, 2)


def with_references(model: nn.Module, batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches with the outputs of the model, ``(rows, positions, features)``."""
    with evaluating(model):
        return [evolve(each, reference=vectors_of(each.call(model))) for each in batches]


def distances(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return summed distances and numbers of positions, ``(rows,)`` float64 and int64.

    Padding does not count.
    """
    found = vectors_of(batch.call(model))
    reference = batch.reference
    assert reference is not None
    if found.shape != reference.shape:
        raise ModelError(
            f"outputs of shape {tuple(found.shape)} cannot be compared with references of shape "
            f"{tuple(reference.shape)}"
        )
    moved = 1 - F.cosine_similarity(found.double(), reference.to(found.device).double(), dim=-1)
    counted = torch.ones_like(moved, dtype=torch.bool)
    if batch.mask is not None and batch.mask.shape == moved.shape:
        counted = batch.mask.to(moved.device).bool()
    return moved.masked_fill(~counted, 0.0).sum(1), counted.sum(1)
