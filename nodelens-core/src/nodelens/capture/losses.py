"""Logits, losses and numbers per prediction from a model's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor
from torch.nn import functional as F

from nodelens.errors import DataError, ModelError
from nodelens.interfaces.statistic import IGNORED
from nodelens.statistics.sample_draws import position_keys

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch

_LABELS = 7
"""Separates the draw of labels from other draws at the same positions."""


def logits_of(output: Any) -> Tensor:
    """Return the logits of an output: a tensor, ``.logits``, ``["logits"]`` or the first item."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, Mapping):
        logits = output.get("logits")
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the model returned {type(output).__name__} without logits; pass loss=, a function of "
            "(output, batch) that returns one summed loss per row"
        )
    return logits


def has_logits(output: Any) -> bool:
    """Return whether `logits_of` finds logits in an output."""
    try:
        logits_of(output)
    except ModelError:
        return False
    return True


def row_losses(output: Any, batch: Batch) -> Tensor:
    """Return the cross-entropy of every row in nats, ``(rows,)``: the *sum* over its positions.

    Positions labelled -100 and masked positions do not count.
    """
    if batch.targets is None:
        raise DataError(
            "gradient metrics and evaluations need labels: give (inputs, targets) batches or loss="
        )
    logits = logits_of(output)
    targets = batch.targets.to(logits.device)
    _check_targets(logits, targets)
    if batch.mask is not None and targets.shape == batch.mask.shape:
        targets = targets.masked_fill(~batch.mask.bool().to(logits.device), IGNORED)
    flat = F.cross_entropy(
        logits.flatten(0, -2).float() if logits.dtype.itemsize < 4 else logits.flatten(0, -2),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return flat.view(len(targets), -1).sum(1)


def label_counts(batch: Batch) -> Tensor:
    """Return the number of labels that the loss of each row is summed over, ``(rows,)`` int64.

    One for each row where the targets are no class indices, or where there are none: the labels of
    a user's own loss are unknown.
    """
    targets = batch.targets
    if targets is None or targets.is_floating_point() or len(targets) != batch.rows:
        return torch.ones(batch.rows, dtype=torch.int64)
    labelled = targets != IGNORED
    if batch.mask is not None and targets.shape == batch.mask.shape:
        labelled = labelled & batch.mask.bool().to(targets.device)
    return labelled.flatten(1).sum(1) if targets.ndim > 1 else labelled.long()


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    """Raise `DataError` unless the targets are class indices that fit the logits."""
    if logits.shape[:-1] != targets.shape:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} do not fit targets of shape "
            f"{tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise DataError(f"targets must be class indices, got {targets.dtype}; or give a loss")
    wrong = (targets != IGNORED) & ((targets < 0) | (targets >= logits.shape[-1]))
    if bool(wrong.any()):
        raise DataError(
            f"label {int(targets[wrong][0])} does not fit a model of {logits.shape[-1]} outputs "
            f"(0 to {logits.shape[-1] - 1}; {IGNORED} is left out)"
        )


def sampled_labels(output: Any, batch: Batch) -> Batch:
    """Return the batch with labels drawn from the model's own predictions, as in the true Fisher.

    A label belongs to its row and its place among the row's tokens: batching, order and padding do
    not change the draw. Labels of -100 are kept.
    """
    logits = logits_of(output).detach()
    if batch.targets is None or logits.shape[:-1] != batch.targets.shape:
        raise DataError("labels are drawn in place of the data's: give (inputs, targets) batches")
    uniform = _uniform(logits, batch)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulative, uniform).squeeze(-1).clamp(max=logits.shape[-1] - 1)
    known = batch.targets.to(logits.device)
    return evolve(batch, targets=drawn.where(known != IGNORED, known))


def _uniform(logits: Tensor, batch: Batch) -> Tensor:
    """Return a number in [0, 1) for each prediction, by its row and its place among the tokens."""
    rows, shape = len(logits), logits.shape[:-1]
    keys = position_keys(batch.numbers.to(logits.device), logits[..., 0].numel() // rows, _LABELS)
    if batch.mask is not None and batch.mask.shape == shape:
        place = batch.mask.to(logits.device).long().cumsum(1) - 1
        keys = keys.gather(1, place.clamp(min=0))
    return (keys.double() / 2.0**63).view(*shape, 1)


def output_numbers(output: Any, batch: Batch) -> Tensor:
    """Return margin, −log p and entropy of every prediction, ``(rows, positions or 1, 3)`` float64.

    Rows or positions without a label have NaN in the first two.
    """
    if batch.targets is None:
        raise DataError("metrics of a target need labels: give (inputs, targets) batches")
    logits = logits_of(output).detach().double()
    targets = batch.targets.to(logits.device)
    _check_targets(logits, targets)
    log_p = logits.log_softmax(-1)
    label = targets.clamp(min=0).unsqueeze(-1)
    true = logits.gather(-1, label)
    best = logits.scatter(-1, label, -torch.inf).amax(-1, keepdim=True)
    labelled = (targets != IGNORED).unsqueeze(-1)
    margin, nll = (
        value.where(labelled, value.new_tensor(torch.nan))
        for value in (true - best, -log_p.gather(-1, label))
    )
    entropy = -(log_p.exp() * log_p).sum(-1, keepdim=True)
    return torch.cat([margin, nll, entropy], dim=-1).reshape(len(logits), -1, 3)
