"""The training loop: seeded, weights chosen by the validation split, never by the test split."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.losses import logits_of
from nodelens.data.contract import Samples
from nodelens.data.splits import Splits, batches
from nodelens.errors import DataError, ModelError
from nodelens.models.modes import training
from nodelens.models.randomness import own_randomness
from nodelens.seeding import generator
from nodelens.training.evaluation import counted_targets, evaluate
from nodelens.training.optimizers import build_optimizer, learning_rate, set_learning_rate
from nodelens.training.result import Epoch, TrainingResult

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from nodelens.config.schema import TrainingSettings
    from nodelens.progress import Progress


def train(
    model: nn.Module,
    splits: Splits,
    settings: TrainingSettings,
    batch_size: int,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> TrainingResult:
    """Train the model in place on the training split and leave it on `device`.

    Afterwards the model has the weights of the epoch with the lowest validation loss, or, when the
    validation split is empty, of the last epoch. Modes and the global random state are as before.
    On a CPU, equal seeds give equal weights bit for bit. Raises `ModelError` when the loss is not
    finite, `DataError` for patience without a validation split.
    """
    _check(splits, settings)
    started = time.perf_counter()
    session = _Session(
        model=model.to(device),
        optimizer=build_optimizer(model, settings),
        settings=settings,
        samples=splits.train,
        validation=batches(splits.validation, batch_size),
        batch_size=batch_size,
        seed=seed,
        device=device,
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
    )


@frozen(eq=False)
class _Session:
    """What every epoch needs."""

    model: nn.Module
    optimizer: Optimizer
    settings: TrainingSettings
    samples: Samples
    validation: Sequence[Batch]
    batch_size: int
    seed: int
    device: torch.device
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


def _check(splits: Splits, settings: TrainingSettings) -> None:
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
    parts = _parts(torch.randperm(len(session.samples), generator=shuffle), session.batch_size)
    steps = len(parts) * session.settings.epochs
    total, rate = 0.0, 0.0
    for position, rows in enumerate(parts):
        step = (number - 1) * len(parts) + position
        rate = learning_rate(session.settings, step, steps)
        set_learning_rate(session.optimizer, rate)
        where = f"in epoch {number}, batch {position + 1}"
        total += _step(session, session.samples.take(rows), where) * len(rows)
        session.progress("training", step + 1, steps)
    loss, accuracy = _validate(session, number)
    return Epoch(number, total / len(session.samples), loss, accuracy, rate)


def _parts(order: Tensor, size: int) -> list[Tensor]:
    """Return the order in parts of `size`; a last part of one row joins the one before.

    Batch normalisation has no variance to divide by in a batch of one.
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _step(session: _Session, samples: Samples, where: str) -> float:
    """Return the mean loss of what is labelled and change the weights once."""
    batch = batches(samples, len(samples))[0].to(session.device)
    logits, targets = logits_of(batch.call(session.model)), counted_targets(batch)
    smoothing = session.settings.label_smoothing
    loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), label_smoothing=smoothing)
    value = loss.item()
    _check_finite(value, f"the loss {where}", session.settings)
    session.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    session.optimizer.step()
    session.optimizer.zero_grad(set_to_none=True)
    return value


def _validate(session: _Session, number: int) -> tuple[float | None, float | None]:
    """Return loss and accuracy on the validation split, None for both when it is empty."""
    if not session.validation:
        return None, None
    result = evaluate(session.model, session.validation)
    _check_finite(result.loss, f"the validation loss after epoch {number}", session.settings)
    return result.loss, result.accuracy


def _check_finite(value: float, what: str, settings: TrainingSettings) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"{what} is {value}: training diverged; lower training.learning_rate "
            f"(it is {settings.learning_rate:g}) and check that data.normalize is on"
        )
