"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from nodelens.config.schema import TrainingSettings


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """Return the optimizer of all parameters that want gradients; `ModelError` if none does."""
    parameters = [one for one in model.parameters() if one.requires_grad]
    if not parameters:
        raise ModelError("the model has no trainable parameter; leave the training section out")
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            return AdamW(parameters, lr=rate, weight_decay=decay)
        case "adam":
            return Adam(parameters, lr=rate, weight_decay=decay)
        case "sgd":
            return SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """Return the rate of step `step` of `steps`, counted from 0.

    ``cosine`` falls from the full rate to almost zero (Loshchilov and Hutter 2017,
    arXiv 1608.03983, eq. 5, without restarts).
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
