"""Random draws replaced by constants, so that forwards of models of two sizes can be compared.

One seed gives other numbers to a tensor of another shape. With every draw a constant, a dropout
only scales, in both models alike, and whatever else a model does in training remains to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Call = Callable[..., Any]

_RATES = frozenset(["dropout", "dropout_p"])


def _filled(middle: Callable[..., float]) -> Call:
    """Fill a tensor in place; `middle` takes the parameters of the distribution."""

    def fill(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("generator", None)
        return x.fill_(middle(*args, **kwargs))

    return fill


def _bernoulli_(x: Tensor, p: Tensor | float = 0.5, **_: Any) -> Tensor:
    return x.copy_(p >= 0.5) if isinstance(p, Tensor) else x.fill_(1)


def _bernoulli(x: Tensor, p: float | None = None, **_: Any) -> Tensor:
    return (x >= 0.5).to(x.dtype) if p is None else torch.ones_like(x)


def _dropout(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return x.clone(), torch.ones_like(x, dtype=torch.bool)


def _new(size: Sequence[int], **options: Any) -> Tensor:
    return torch.full(tuple(size), 0.5, dtype=options.get("dtype"), device=options.get("device"))


def _like(x: Tensor, **options: Any) -> Tensor:
    return torch.full_like(x, 0.5, dtype=options.get("dtype"), device=options.get("device"))


CONSTANTS: Mapping[str, Call] = {
    "bernoulli_": _bernoulli_,
    "bernoulli": _bernoulli,
    "native_dropout": _dropout,
    "rand": _new,
    "randn": _new,
    "rand_like": _like,
    "randn_like": _like,
    "uniform_": _filled(lambda low=0.0, high=1.0: (low + high) / 2),
    "normal_": _filled(lambda mean=0.0, std=1.0: mean + std / 2),
    "exponential_": _filled(lambda rate=1.0: 0.5 / rate),
}
"""By operator, what stands in for its draws. Draws of integers are left: no node is among them."""


def without_dropout(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of an operator with the rates of a dropout inside it at zero."""
    names = [argument.name for argument in func._schema.arguments[: len(args)]]
    if str(func._schema.name).startswith("aten::rrelu_with_noise"):
        return tuple(
            False if n == "training" else value for n, value in zip(names, args, strict=True)
        )
    if _RATES.isdisjoint(names):
        return args
    return tuple(0.0 if n in _RATES else value for n, value in zip(names, args, strict=True))
