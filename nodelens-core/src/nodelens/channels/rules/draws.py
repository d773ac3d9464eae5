"""Random draws replaced by constants, so that forwards of models of two sizes can be compared.

One seed gives other numbers to a tensor of another shape. With every draw a constant, a dropout
only scales, in both models alike, and everything else that a model does in training is compared.
Draws of integers are left: no node is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Call = Callable[..., Any]


def _filled(middle: Callable[..., float]) -> Call:
    """Fill a tensor in place; `middle` takes the parameters of the distribution."""

    def fill(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("generator", None)
        return x.fill_(middle(*args, **kwargs))

    return fill


def bernoulli_(x: Tensor, p: Tensor | float = 0.5, **_: Any) -> Tensor:
    """Fill in place with the likelier value."""
    return x.copy_(p >= 0.5) if isinstance(p, Tensor) else x.fill_(1)


def bernoulli(x: Tensor, p: float | None = None, **_: Any) -> Tensor:
    """Return the likelier value of every entry."""
    return (x >= 0.5).to(x.dtype) if p is None else torch.ones_like(x)


def dropout(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Return the tensor with nothing dropped, and its mask."""
    return x.clone(), torch.ones_like(x, dtype=torch.bool)


def new(size: Sequence[int], **options: Any) -> Tensor:
    """Return a tensor of halves."""
    return torch.full(tuple(size), 0.5, dtype=options.get("dtype"), device=options.get("device"))


def like(x: Tensor, **options: Any) -> Tensor:
    """Return halves in the shape of a tensor."""
    return torch.full_like(x, 0.5, dtype=options.get("dtype"), device=options.get("device"))


def rrelu(x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any) -> Tensor:
    """Return a leaky rectifier with the slope in the middle of the range."""
    return F.leaky_relu(x, (lower + upper) / 2)


def rrelu_(x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any) -> Tensor:
    """Apply `rrelu` in place."""
    return F.leaky_relu_(x, (lower + upper) / 2)


uniform_ = _filled(lambda low=0.0, high=1.0: (low + high) / 2)
normal_ = _filled(lambda mean=0.0, std=1.0: mean + std / 2)
exponential_ = _filled(lambda rate=1.0: 0.5 / rate)
