"""Training and evaluation mode for a while, put back module by module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients inside; both as before outside, also when the body raises."""
    with _mode(model, training=False), torch.no_grad():
        yield


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Training mode and gradients inside; both as before outside, also when the body raises."""
    with _mode(model, training=True), torch.enable_grad():
        yield


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:  # one by one: parts of a model may be kept in evaluation mode
            module.training = mode
