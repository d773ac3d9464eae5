"""A random state of its own for code that draws from torch's global one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nodelens.seeding import derive_seed


@contextmanager
def own_randomness(
    seed: int, *purpose: str | int, device: torch.device | None = None
) -> Iterator[None]:
    """Seed torch's global generators inside, put them back outside, also when the body raises.

    This is for layers that draw from the global state (initial weights, dropout). The CPU's
    generator is covered, and the one of `device` if that is a CUDA device.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        reseed(seed, *purpose, device=device)
        yield


def reseed(seed: int, *purpose: str | int, device: torch.device | None = None) -> None:
    """Seed the generators that `own_randomness` covers, for what is drawn from here on."""
    value = derive_seed(seed, *purpose)
    torch.default_generator.manual_seed(value)  # torch.manual_seed would reseed every device
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(value)
