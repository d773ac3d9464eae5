"""Training after pruning: a plain loop over all weights, with or without the dense model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import field, frozen, validators
from torch import Tensor
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.losses import logits_of
from nodelens.data.splits import batches
from nodelens.errors import DataError, ModelError
from nodelens.models.modes import evaluating, training
from nodelens.models.randomness import own_randomness
from nodelens.seeding import generator
from nodelens.statistics.contract import IGNORED
from nodelens.training.evaluation import counted_targets

if TYPE_CHECKING:
    from torch import nn

    from nodelens.data.contract import Samples

_LARGEST_NORM = 1.0
"""What the norm of the gradient is cut to."""


@frozen
class Recovery:
    """How a pruned model is trained.

    `steps` batches of `batch_size` rows, drawn with `seed`; AdamW, whose rate falls from
    `learning_rate` to zero along half a cosine. `distillation` is the weight of the divergence from
    the dense model's predictions, at `temperature`, beside the cross-entropy of the labels (Hinton
    et al. 2015, 1503.02531, whose factor T² keeps the gradients' size).
    """

    steps: int = field(default=100, validator=validators.ge(1))
    batch_size: int = field(default=8, validator=validators.ge(1))
    learning_rate: float = field(default=1e-4, validator=validators.gt(0.0))
    distillation: float = field(default=0.5, validator=[validators.ge(0.0), validators.le(1.0)])
    temperature: float = field(default=1.0, validator=validators.gt(0.0))
    seed: int = 0


def recover(
    model: nn.Module,
    samples: Samples,
    settings: Recovery = Recovery(),
    dense: nn.Module | None = None,
) -> tuple[float, ...]:
    """Train a pruned model in place on `samples` and return the loss of every step.

    With `dense`, the model before pruning, on the same device, its predictions are learned as well;
    it stays as it was. Without it only the labels count. Raises `ModelError` when the loss is not
    finite, `DataError` for samples without a label.
    """
    device = next(model.parameters()).device
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    random = generator(settings.seed, "recovery", "order")
    losses: list[float] = []
    with training(model), own_randomness(settings.seed, "recovery", device=device):
        for step in range(settings.steps):
            rows = torch.randperm(len(samples), generator=random)[: settings.batch_size]
            batch = batches(samples.take(rows), len(rows))[0].to(device)
            loss = _loss(model, dense, batch, settings)
            losses.append(_finite(float(loss.detach()), step))
            _update(optimizer, weights, loss, _rate(settings, step))
    return tuple(losses)


def _rate(settings: Recovery, step: int) -> float:
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / settings.steps))


def _update(
    optimizer: torch.optim.Optimizer, weights: Sequence[nn.Parameter], loss: Tensor, rate: float
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(weights, _LARGEST_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _loss(model: nn.Module, dense: nn.Module | None, batch: Batch, settings: Recovery) -> Tensor:
    """Return the mean loss of a counted position."""
    targets = counted_targets(batch).flatten()
    counted = targets != IGNORED
    if not bool(counted.any()):
        raise DataError("recovery: no row of a batch has a label")
    logits = logits_of(batch.call(model)).flatten(0, -2)[counted].float()
    labels = F.cross_entropy(logits, targets[counted])
    if dense is None or settings.distillation == 0.0:
        return labels
    with evaluating(dense), torch.no_grad():
        wanted = logits_of(batch.call(dense)).flatten(0, -2)[counted].float()
    warm = settings.temperature
    ours, theirs = (each.div(warm).log_softmax(-1) for each in (logits, wanted))
    divergence = F.kl_div(ours, theirs, log_target=True, reduction="batchmean") * warm**2
    return (1.0 - settings.distillation) * labels + settings.distillation * divergence


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise ModelError(
            f"recovery: the loss of step {step + 1} is {loss}; lower the learning rate"
        )
    return loss
