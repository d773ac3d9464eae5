"""The training steps of a recovery."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING

from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import AdamW

from nodelens.errors import DataError
from nodelens.interfaces.recovery import Recovered, RecoveryStep
from nodelens.model_state import own_randomness, training
from nodelens.recovery.objective import objective
from nodelens.seeding import generator
from nodelens.training.descent import Descent, shuffled
from nodelens.training.optimizers import learning_rate, trainable

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.dataset import Samples
    from nodelens.interfaces.recovery import RecoveryRequest
    from nodelens.recovery.fine_tune import FineTune


def train_steps(request: RecoveryRequest, settings: FineTune) -> Recovered:
    """Train the parameters of a pruned model that want gradients, in place.

    The samples are read in random order, each once before any is read again. Raises `ModelError`
    when the loss is not finite.
    """
    samples, size = _samples(request, settings), _batch_size(request, settings)
    weights = trainable(request.model, "recovery")
    rate, decay = settings.learning_rate, settings.weight_decay
    descent = Descent(
        samples=samples,
        objective=partial(objective, request.model, request.dense, settings.distillation),
        optimizer=AdamW(weights, lr=rate, weight_decay=decay),
        device=request.device,
        advice=f"lower the learning_rate of the recovery (it is {rate:g})",
        max_grad_norm=settings.max_grad_norm,
        loss=request.loss,
    )
    with (
        request.masked(request.model),
        training(request.model),
        own_randomness(request.seed, "recovery", device=request.device),
    ):
        history = tuple(_steps(request, settings, descent, size))
    return Recovered(history, sum(each.numel() for each in weights), len(samples), size)


def check_batches(request: RecoveryRequest, settings: FineTune) -> None:
    """Raise `DataError` where batch normalisation would get batches of one sample."""
    size = min(_batch_size(request, settings), len(_samples(request, settings)))
    normalised = any(isinstance(module, _BatchNorm) for module in request.model.modules())
    if size < 2 and normalised:
        raise DataError(
            "recovery: the model has batch normalisation and a batch would be one sample; set a "
            "batch_size of at least 2"
        )


def _steps(
    request: RecoveryRequest, settings: FineTune, descent: Descent, size: int
) -> Iterator[RecoveryStep]:
    order = _order(len(descent.samples), size, request.seed)
    for step, rows in enumerate(islice(order, settings.steps)):
        rate = learning_rate(
            settings.learning_rate, settings.schedule, step, settings.steps, settings.warmup
        )
        values = descent.step(rows, rate, f"of recovery step {step + 1}")
        yield RecoveryStep(values["loss"], values["labels"], values.get("divergence"), rate)
        request.progress("recovery", step + 1, settings.steps)


def _order(samples: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield the rows of batch after batch, without end."""
    for turn in count():
        yield from shuffled(samples, size, generator(seed, "recovery", "order", turn))


def _samples(request: RecoveryRequest, settings: FineTune) -> Samples:
    return request.train if settings.split == "train" else request.calibration


def _batch_size(request: RecoveryRequest, settings: FineTune) -> int:
    return settings.batch_size or request.batch_size
