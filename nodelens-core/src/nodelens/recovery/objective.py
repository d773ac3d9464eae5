"""The objective of a recovery: the loss of the labels, and the divergence from the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED
from nodelens.losses.choice import CROSS_ENTROPY
from nodelens.model_state import evaluating
from nodelens.training.descent import BatchLoss
from nodelens.training.model_evaluation import counted_targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.loss import RowLoss
    from nodelens.recovery.fine_tune import Distillation


def objective(
    model: nn.Module, dense: nn.Module, distillation: Distillation | None, batch: Batch
) -> BatchLoss:
    """Return the mean loss of a label, with its parts ``labels`` and ``divergence``.

    With distillation both count by their weights. Raises `DataError` for a batch without a label.
    """
    loss = batch.loss or CROSS_ENTROPY
    if not bool(loss.counts(batch).any()):
        raise DataError(
            "recovery: no position of a batch has a label; use larger batches, or samples with "
            "labels"
        )
    if loss.distribution != "classes":
        found = loss.batch_mean(batch.call(model), batch)
        return BatchLoss(found, {"labels": found})
    targets = counted_targets(batch).flatten()
    counted = targets != IGNORED
    logits = _logits(model, batch, loss, counted)
    labels = F.cross_entropy(logits, targets[counted].to(logits.device))
    if distillation is None:
        return BatchLoss(labels, {"labels": labels})
    with evaluating(dense):
        wanted = _logits(dense, batch, loss, counted)
    apart = divergence(logits, wanted.to(logits.device), distillation.temperature)
    total = (1.0 - distillation.weight) * labels + distillation.weight * apart
    return BatchLoss(total, {"labels": labels, "divergence": apart})


def divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Return the mean Kullback–Leibler divergence of predictions from wanted ones, in nats.

    Both are logits ``(positions, classes)``, softened by the temperature T; the factor T² keeps the
    size of the gradients (Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2).
    """
    ours, theirs = ((each / temperature).log_softmax(-1) for each in (logits, wanted))
    return F.kl_div(ours, theirs, log_target=True, reduction="batchmean") * temperature**2


def _logits(model: nn.Module, batch: Batch, loss: RowLoss, counted: Tensor) -> Tensor:
    """Return the logits of the counted positions, ``(positions, classes)``, float32 or better."""
    logits = loss.logits(batch.call(model), batch).flatten(0, -2)
    chosen = logits[counted.to(logits.device)]
    return chosen.float() if chosen.dtype.itemsize < 4 else chosen
