"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from torch.optim import SGD, Adam, AdamW, Optimizer

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from nodelens.config.schema import TrainingSettings


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """Return the optimizer of all parameters that want gradients; `ModelError` if none does."""
    parameters = trainable(model, "training")
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            return AdamW(parameters, lr=rate, weight_decay=decay)
        case "adam":
            return Adam(parameters, lr=rate, weight_decay=decay)
        case "sgd":
            return SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)


def trainable(model: nn.Module, section: str) -> list[nn.Parameter]:
    """Return the parameters that want gradients; `ModelError` names the section if none does."""
    parameters = [one for one in model.parameters() if one.requires_grad]
    if not parameters:
        raise ModelError(f"the model has no trainable parameter; leave the {section} section out")
    return parameters


def learning_rate(
    full: float, schedule: Literal["constant", "cosine"], step: int, steps: int, warmup: int = 0
) -> float:
    """Return the rate of step `step` of `steps`, counted from 0.

    The rate rises in a straight line over the first `warmup` steps and is `full` in the one after
    them. From there ``cosine`` falls to almost zero (Loshchilov and Hutter 2017, arXiv 1608.03983,
    eq. 5, without restarts).
    """
    if step < warmup:
        return full * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return full
    return full * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
