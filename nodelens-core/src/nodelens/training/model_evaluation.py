"""Loss and accuracy of a model, sample by sample, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED
from nodelens.losses.choice import CROSS_ENTROPY
from nodelens.model_state import evaluating
from nodelens.training.estimate import Estimate, jackknifed, ratio
from nodelens.training.references import DISTANCE, distances

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.loss import RowLoss


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

    `losses` ``(rows,)`` are sums over the row's labels in `unit`, `counts` ``(rows,)`` how many
    positions those were (one where a row has one label). `correct` ``(rows,)`` counts those that
    are right, None where positions are labelled with tokens. `targets` ``(rows,)`` are None where a
    row has more than one label. `unit` is that of the losses: nats, or the distance from references
    of a model without predictions. `measured` is the loss of labels that are no classes, and `sums`
    are the numbers of each row, ``(rows,)``, that it reports in place of an accuracy.
    """

    losses: NDArray[np.float64]
    counts: NDArray[np.int64]
    correct: NDArray[np.bool_ | np.int64] | None
    targets: NDArray[np.int64] | None
    unit: str = NATS
    measured: RowLoss | None = None
    sums: Mapping[str, NDArray[np.float64]] = field(factory=dict)

    @property
    def words(self) -> bool:
        """Whether the losses are of tokens of a vocabulary, so that a perplexity has a meaning."""
        return self.correct is None and self.unit == NATS and self.measured is None

    def form(self, places: str) -> str:
        """Return the number format of a loss: `places` for nats, three digits for distances."""
        return places if self.unit == NATS else ".3g"

    @property
    def loss_estimate(self) -> Estimate:
        """The mean loss of a label: the sum of losses over the number of labels."""
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
    def measures(self) -> dict[str, Estimate]:
        """What a loss of no classes reports in place of an accuracy, by name."""
        if self.measured is None:
            return {}
        return jackknifed(self.sums, self.measured.measures)

    @property
    def reported(self) -> dict[str, Estimate]:
        """What is reported beside the loss: accuracy, perplexity, or what the loss says."""
        if self.accuracy_estimate is not None:
            return {"accuracy": self.accuracy_estimate}
        return {"perplexity": self.perplexity_estimate} if self.words else self.measures

    @property
    def loss(self) -> float:
        """The mean loss of a label."""
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

    The loss is that of the batches, which are moved to the model's device. The modes of all modules
    and the gradient mode are as before afterwards, also when the model raises. Labels of -100 and
    masked positions do not count.
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
        measured=parts[0].measured,
        sums={name: np.concatenate([part.sums[name] for part in parts]) for name in parts[0].sums},
    )


def paired(after: EvaluationResult, before: EvaluationResult) -> tuple[float, float]:
    """Return the mean loss difference, after minus before, and its paired standard error.

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
    loss = batch.loss or CROSS_ENTROPY
    output = batch.call(model)
    losses = loss(output, batch).cpu().double().numpy()
    if loss.distribution != "classes":
        return _measured(losses, loss, output, batch)
    targets = counted_targets(batch)
    counts = (targets != IGNORED).reshape(len(targets), -1).sum(1).cpu().numpy()
    if targets.ndim != 1 and not batch.token_classes:
        return EvaluationResult(losses, counts, None, None, loss.unit)
    hits = (loss.logits(output, batch).argmax(-1) == targets).cpu()
    if targets.ndim != 1:
        return EvaluationResult(losses, counts, hits.flatten(1).sum(1).numpy(), None, loss.unit)
    right = hits.numpy() & np.isfinite(losses)
    return EvaluationResult(losses, counts, right, targets.cpu().numpy(), loss.unit)


def _measured(
    losses: NDArray[np.float64], loss: RowLoss, output: Any, batch: Batch
) -> EvaluationResult:
    """Return the losses of labels that are no classes, with the numbers that the loss reports."""
    sums = {
        name: each.cpu().double().numpy() for name, each in loss.row_sums(output, batch).items()
    }
    counts = loss.counts(batch).cpu().numpy()
    return EvaluationResult(losses, counts, None, None, loss.unit, loss, sums)


def counted_targets(batch: Batch) -> Tensor:
    """Return the labels with -100 wherever the batch's mask says that a position does not count."""
    if batch.targets is None:
        raise DataError("evaluation needs labels: give (inputs, targets) batches")
    if batch.mask is not None and batch.targets.shape == batch.mask.shape:
        return batch.targets.masked_fill(~batch.mask, IGNORED)
    return batch.targets
