"""Results of metrics: checked to be one real number per node."""

from __future__ import annotations

import torch
from torch import Tensor


class ResultError(Exception):
    """A result of a metric that is not one real number per node."""


def checked_values(found: object, expected: int, what: str = "") -> Tensor:
    """Return the values of a metric, ``(nodes,)`` float64 on the CPU; raises `ResultError`.

    Values that are no plain numbers are refused, not converted: a complex number has no order, and
    a gradient that is still attached holds the memory of the metric's whole computation.
    """
    gave = f"gave {what} of" if what else "gave"
    if not isinstance(found, Tensor):
        raise ResultError(f"{gave} a {type(found).__name__}, not a tensor of shape ({expected},)")
    if found.shape != (expected,):
        raise ResultError(f"{gave} shape {tuple(found.shape)}, not ({expected},)")
    if found.is_complex():
        raise ResultError(f"{gave} complex numbers, which have no order")
    if found.requires_grad:
        raise ResultError(f"{gave} values with a gradient attached; return values.detach()")
    if found.is_meta or found.layout != torch.strided:
        raise ResultError(f"{gave} values on {found.device} in layout {found.layout}")
    return found.double().cpu()


def fault(error: BaseException) -> str:
    """Return in words what is wrong with a metric that has raised, or gave no values."""
    if isinstance(error, ResultError):
        return str(error)
    return f"{type(error).__name__}: {error}"
