"""The mode of a model and torch's random state: changed for a while, then restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nodelens.seeding import derive_seed


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode and no gradients, and restore both, also when the body raises."""
    with _mode(model, training=False), torch.no_grad():
        yield


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Set training mode and gradients, and restore both, also when the body raises."""
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


@contextmanager
def own_randomness(
    seed: int, *purpose: str | int, device: torch.device | None = None
) -> Iterator[None]:
    """Seed torch's global generators, and restore them, also when the body raises.

    This is for layers that draw from the global state (initial weights, dropout). The CPU's
    generator is covered, and the one of `device` if that is a CUDA device.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        reseed(seed, *purpose, device=device)
        yield


def reseed(seed: int, *purpose: str | int, device: torch.device | None = None) -> None:
    """Seed the generators that `own_randomness` covers, for all later draws."""
    value = derive_seed(seed, *purpose)
    torch.default_generator.manual_seed(value)  # torch.manual_seed would reseed every device
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(value)
