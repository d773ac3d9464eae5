"""Outputs and targets that are compared number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nodelens.capture.losses import OWN_LOSS, logits_of
from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch


def numbers_of(output: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, targets and whether each counts, all in the shape of the targets.

    Raises `DataError` for shapes that differ by more than a last axis of one.
    """
    targets = given_targets(batch)
    found = _output_of(output, targets)
    if found.shape == (*targets.shape, 1):
        found = found.squeeze(-1)
    if targets.shape == (*found.shape, 1):
        found = found.unsqueeze(-1)
    if found.shape != targets.shape:
        raise DataError(
            f"outputs of shape {tuple(found.shape)} do not fit targets of shape "
            f"{tuple(targets.shape)}, which are compared number by number; {OWN_LOSS}"
        )
    targets = targets.to(found.device)
    found = found.float() if found.dtype.itemsize < 4 else found
    counted = counts_of(targets, batch)
    return found, targets.to(found.dtype).masked_fill(~counted, 0.0), counted


def given_targets(batch: Batch) -> Tensor:
    """Return the targets; raises `DataError` without any."""
    if batch.targets is None:
        raise DataError("this loss needs targets: give batches of (inputs, targets)")
    return batch.targets


def counts_of(targets: Tensor, batch: Batch) -> Tensor:
    """Return whether each target counts: it is a number, and its position is not masked."""
    counted = ~targets.isnan() if targets.is_floating_point() else torch.ones_like(targets).bool()
    if batch.mask is None or targets.shape[:2] != batch.mask.shape:
        return counted
    mask = batch.mask.bool().to(targets.device)
    return counted & mask.view(*mask.shape, *[1] * (targets.ndim - 2))


def counted_numbers(batch: Batch) -> Tensor:
    """Return the number of counted targets of each row, ``(rows,)`` int64."""
    targets = given_targets(batch)
    return counts_of(targets, batch).reshape(len(targets), -1).sum(1)


def yes_or_no(batch: Batch) -> Batch:
    """Return the batch with labels of 0 to 1 as real numbers, NaN where they do not count.

    Raises `DataError` for other labels.
    """
    from attrs import evolve

    targets = given_targets(batch).float()
    targets = targets.masked_fill(targets == IGNORED, torch.nan)
    wrong = targets[(targets < 0) | (targets > 1)]
    if wrong.numel():
        raise DataError(
            f"bce takes labels from 0 to 1 (and {IGNORED} for none), got {float(wrong[0]):g}; "
            "class numbers take loss='cross_entropy'"
        )
    return evolve(batch, targets=targets)


def _output_of(output: Any, targets: Tensor) -> Tensor:
    if not isinstance(output, tuple | list):
        return logits_of(output)
    fitting = [
        each
        for each in output
        if isinstance(each, Tensor) and each.shape in (targets.shape, (*targets.shape, 1))
    ]
    if len(fitting) > 1:
        raise DataError(f"the model returned several outputs that fit the targets; {OWN_LOSS}")
    return fitting[0] if fitting else logits_of(output)
