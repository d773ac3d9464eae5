"""The training loop: seeded, weights chosen by the validation split, never by the test split."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from nodelens.capture.batches import Batch
from nodelens.data.splits import Splits, batches
from nodelens.errors import DataError
from nodelens.losses.choice import CROSS_ENTROPY
from nodelens.losses.cross_entropy import CrossEntropy
from nodelens.model_state import own_randomness, training
from nodelens.seeding import generator
from nodelens.training.descent import BatchLoss, Descent, check_finite, shuffled
from nodelens.training.model_evaluation import EvaluationResult, evaluate
from nodelens.training.optimizers import build_optimizer, learning_rate
from nodelens.training.training_result import Epoch, TrainingResult

if TYPE_CHECKING:
    from nodelens.config.schema import TrainingSettings
    from nodelens.interfaces.loss import RowLoss
    from nodelens.progress import Progress


def train(
    model: nn.Module,
    splits: Splits,
    settings: TrainingSettings,
    batch_size: int,
    seed: int,
    device: torch.device,
    progress: Progress,
    loss: RowLoss = CROSS_ENTROPY,
) -> TrainingResult:
    """Train the model in place on the training split and leave it on `device`.

    Afterwards the model has the weights of the epoch with the lowest validation loss, or, when the
    validation split is empty, of the last epoch. Modes and the global random state are as before.
    On a CPU, equal seeds give equal weights bit for bit. Raises `ModelError` when the loss is not
    finite, `DataError` for patience without a validation split, and for label smoothing of a loss
    that has none.
    """
    _check(splits, settings, loss)
    started = time.perf_counter()
    session = _Session(
        model=model.to(device),
        descent=Descent(
            samples=splits.train,
            objective=partial(_objective, model, settings.label_smoothing),
            optimizer=build_optimizer(model, settings),
            device=device,
            advice=f"lower training.learning_rate (it is {settings.learning_rate:g}) and check "
            "that data.normalize is on",
            loss=loss,
        ),
        settings=settings,
        validation=batches(splits.validation, batch_size, loss),
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    with training(model), own_randomness(seed, "training", device=device):
        history, best = _epochs(session)
    if session.validation:
        model.load_state_dict(best.weights)
    return TrainingResult(
        history=tuple(history),
        chosen=best.epoch if session.validation else len(history),
        stopped_early=len(history) < settings.epochs,
        samples=len(splits.train),
        seconds=time.perf_counter() - started,
        unit=loss.unit,
    )


@frozen(eq=False)
class _Session:
    """The model, splits, settings and random state of a training."""

    model: nn.Module
    descent: Descent
    settings: TrainingSettings
    validation: Sequence[Batch]
    batch_size: int
    seed: int
    progress: Progress


@define
class _Best:
    """The weights of the epoch with the lowest validation loss so far."""

    epoch: int = 0
    loss: float = math.inf
    weights: dict[str, Tensor] = field(factory=dict)

    def consider(self, epoch: Epoch, model: nn.Module) -> None:
        """Keep a copy of the model's weights if the epoch is better than all before it."""
        if epoch.validation_loss is not None and epoch.validation_loss < self.loss:
            self.epoch, self.loss = epoch.number, epoch.validation_loss
            self.weights = {name: one.clone() for name, one in model.state_dict().items()}


def _check(splits: Splits, settings: TrainingSettings, loss: RowLoss) -> None:
    if settings.label_smoothing and not isinstance(loss.loss, CrossEntropy):
        raise DataError(
            f"training.label_smoothing: {loss.name} has none, cross_entropy has; leave it out"
        )
    if settings.patience is not None and len(splits.validation) == 0:
        raise DataError(
            f"training.patience {settings.patience} needs a validation split to watch; "
            "set data.validation_fraction above 0 or leave patience out"
        )


def _epochs(session: _Session) -> tuple[list[Epoch], _Best]:
    history: list[Epoch] = []
    best, patience = _Best(), session.settings.patience
    for number in range(1, session.settings.epochs + 1):
        history.append(_epoch(session, number))
        best.consider(history[-1], session.model)
        if patience is not None and number - best.epoch >= patience:
            break
    return history, best


def _epoch(session: _Session, number: int) -> Epoch:
    shuffle = generator(session.seed, "training", "order", number)
    parts = shuffled(len(session.descent.samples), session.batch_size, shuffle)
    settings, steps = session.settings, len(parts) * session.settings.epochs
    total, rate = 0.0, 0.0
    for position, rows in enumerate(parts):
        step = (number - 1) * len(parts) + position
        rate = learning_rate(settings.learning_rate, settings.schedule, step, steps)
        where = f"in epoch {number}, batch {position + 1}"
        total += session.descent.step(rows, rate, where)["loss"] * len(rows)
        session.progress("training", step + 1, steps)
    loss, found = total / len(session.descent.samples), _validate(session, number)
    if found is None:
        return Epoch(number, loss, None, None, rate)
    measures = {name: each.value for name, each in found.measures.items()}
    return Epoch(number, loss, found.loss, found.accuracy, rate, measures)


def _objective(model: nn.Module, label_smoothing: float, batch: Batch) -> BatchLoss:
    """Return the mean loss of a label."""
    loss = batch.loss or CROSS_ENTROPY
    smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
    return BatchLoss(loss.batch_mean(batch.call(model), batch, **smoothing))


def _validate(session: _Session, number: int) -> EvaluationResult | None:
    """Return the evaluation of the validation split, None when it is empty."""
    if not session.validation:
        return None
    result = evaluate(session.model, session.validation)
    what = f"the validation loss after epoch {number}"
    check_finite(result.loss, what, session.descent.advice)
    return result
