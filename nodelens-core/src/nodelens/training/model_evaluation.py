"""Loss and accuracy of a model, sample by sample, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.capture.losses import logits_of, row_losses
from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED
from nodelens.model_state import evaluating
from nodelens.training.estimate import Estimate, ratio
from nodelens.training.references import DISTANCE, distances

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nodelens.capture.batches import Batch


NATS = "nats"
_LARGEST = 700.0
"""The largest loss in nats with a finite exponential."""


@frozen
class ClassResult:
    """The samples of one class: how many, their mean loss and accuracy (NaN without any)."""

    name: str
    count: int
    loss: Estimate
    accuracy: Estimate


@frozen(eq=False)
class EvaluationResult:
    """The loss and the right labels of every row, in the order of the data.

    `losses` ``(rows,)`` are sums of nats over the row's positions, `counts` ``(rows,)`` how many
    positions those were (one where a row has one label). `correct` ``(rows,)`` counts those that
    are right, None where positions are labelled with tokens. `targets` ``(rows,)`` are None where a
    row has more than one label. `unit` is that of the losses: nats, or the distance from references
    of a model without predictions.
    """

    losses: NDArray[np.float64]
    counts: NDArray[np.int64]
    correct: NDArray[np.bool_ | np.int64] | None
    targets: NDArray[np.int64] | None
    unit: str = NATS

    @property
    def words(self) -> bool:
        """Whether the losses are of tokens of a vocabulary, so that a perplexity has a meaning."""
        return self.correct is None and self.unit == NATS

    def form(self, places: str) -> str:
        """Return the number format of a loss: `places` for nats, three digits for distances."""
        return places if self.unit == NATS else ".3g"

    @property
    def loss_estimate(self) -> Estimate:
        """The mean loss of a position in nats: the sum of losses over the number of positions."""
        return ratio(self.losses, self.counts)

    @property
    def perplexity_estimate(self) -> Estimate:
        """The exponential of the mean loss; its error is that of the loss times itself."""
        loss = self.loss_estimate
        value = math.exp(loss.value) if loss.value < _LARGEST else math.inf
        return Estimate(value, value * loss.se if math.isfinite(value) else math.nan)

    @property
    def accuracy_estimate(self) -> Estimate | None:
        """The fraction of labels that are right; None where they are tokens of a vocabulary."""
        if self.correct is None:
            return None
        return ratio(self.correct.astype(np.float64), self.counts)

    @property
    def loss(self) -> float:
        """The mean loss in nats per position."""
        return self.loss_estimate.value

    @property
    def loss_se(self) -> float:
        """The standard error of `loss` over rows; NaN for fewer than two rows."""
        return self.loss_estimate.se

    @property
    def accuracy(self) -> float | None:
        """The fraction of right labels."""
        return None if self.accuracy_estimate is None else self.accuracy_estimate.value

    @property
    def accuracy_se(self) -> float | None:
        """The standard error of `accuracy` over rows; NaN for fewer than two rows."""
        return None if self.accuracy_estimate is None else self.accuracy_estimate.se

    def per_class(self, classes: Sequence[str]) -> tuple[ClassResult, ...]:
        """Return the result of every class; empty where a row has more than one label."""
        if self.targets is None or self.correct is None:
            return ()
        return tuple(
            self._of_class(name, self.targets == label) for label, name in enumerate(classes)
        )

    def _of_class(self, name: str, members: NDArray[np.bool_]) -> ClassResult:
        assert self.correct is not None, "asked of rows with one label only"
        counts = self.counts[members]
        right = self.correct[members].astype(np.float64)
        return ClassResult(
            name, int(counts.sum()), ratio(self.losses[members], counts), ratio(right, counts)
        )


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> EvaluationResult:
    """Run the model on every batch, in evaluation mode and without gradients.

    Batches are moved to the model's device. The modes of all modules and the gradient mode are as
    before afterwards, also when the model raises. Labels of -100 and masked positions do not count.
    Raises `DataError` for no batches, missing labels and labels that have no logit.
    """
    device = _device(model)
    with evaluating(model):
        parts = [_rows(model, batch if device is None else batch.to(device)) for batch in batches]
    if not parts:
        raise DataError("there is nothing to evaluate on: no batches, or an empty split")
    right = [part.correct for part in parts if part.correct is not None]
    labels = [part.targets for part in parts if part.targets is not None]
    whole, single = len(right) == len(parts), len(labels) == len(parts)
    return EvaluationResult(
        losses=np.concatenate([part.losses for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        correct=np.concatenate(right) if whole else None,
        targets=np.concatenate(labels) if single else None,
        unit=parts[0].unit,
    )


def paired(after: EvaluationResult, before: EvaluationResult) -> tuple[float, float]:
    """Return the mean loss difference in nats, after minus before, and its paired standard error.

    Both must be of the same samples in the same order, else `DataError`.
    """
    same_targets = (
        after.targets is None
        or before.targets is None
        or np.array_equal(after.targets, before.targets)
    )
    if not np.array_equal(after.counts, before.counts) or not same_targets:
        raise DataError(
            f"evaluations of different samples ({len(after.losses)} and {len(before.losses)} rows) "
            "cannot be paired; evaluate both on the same batches in the same order"
        )
    with np.errstate(invalid="ignore"):  # infinite in both: the difference is NaN, as it should
        estimate = ratio(after.losses - before.losses, after.counts)
    return estimate.value, estimate.se


def _device(model: nn.Module) -> torch.device | None:
    """Return the device of the model, None if it has none or is spread over several."""
    devices = {parameter.device for parameter in model.parameters()}
    return devices.pop() if len(devices) == 1 else None


def _rows(model: nn.Module, batch: Batch) -> EvaluationResult:
    if batch.reference is not None:
        moved, positions = (each.cpu().numpy() for each in distances(model, batch))
        return EvaluationResult(moved, positions, None, None, DISTANCE)
    output = batch.call(model)
    if batch.targets is not None:
        _check_labels(batch.targets, logits_of(output))
    losses = row_losses(output, batch).cpu().double().numpy()
    targets = counted_targets(batch)
    counts = (targets != IGNORED).reshape(len(targets), -1).sum(1).cpu().numpy()
    if targets.ndim != 1 and not batch.token_classes:
        return EvaluationResult(losses, counts, None, None)
    if targets.ndim != 1:
        hits = (logits_of(output).argmax(-1) == targets).flatten(1).sum(1)
        return EvaluationResult(losses, counts, hits.cpu().numpy(), None)
    right = (logits_of(output).argmax(-1) == targets).cpu().numpy() & np.isfinite(losses)
    return EvaluationResult(losses, counts, right, targets.cpu().numpy())


def counted_targets(batch: Batch) -> Tensor:
    """Return the labels with -100 wherever the batch's mask says that a position does not count."""
    if batch.targets is None:
        raise DataError("evaluation needs labels: give (inputs, targets) batches")
    if batch.mask is not None and batch.targets.shape == batch.mask.shape:
        return batch.targets.masked_fill(~batch.mask, IGNORED)
    return batch.targets


def _check_labels(targets: Tensor, logits: Tensor) -> None:
    """Raise `DataError` for labels without a logit; an index out of range would end CUDA."""
    if targets.is_floating_point():
        raise DataError(f"labels are {targets.dtype}, expected class numbers of torch.int64")
    if logits.ndim != targets.ndim + 1:
        return  # the loss says that they do not fit
    counted = targets[targets != IGNORED]
    if counted.numel() and (int(counted.min()) < 0 or int(counted.max()) >= logits.shape[-1]):
        raise DataError(
            f"labels from {int(counted.min())} to {int(counted.max())} do not fit a model of "
            f"{logits.shape[-1]} outputs, expected 0 to {logits.shape[-1] - 1}"
        )
