"""Full precision for products of statistics, whatever precision the model may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

_FULL = "highest"


def exact_products(device: str) -> AbstractContextManager[None]:
    """Take products of float32 in full float32 while the context is open.

    TensorFloat-32 keeps 10 bits of a factor, autocast as few as 7: three digits of a covariance.
    The user's settings are restored on exit.
    """
    if torch.is_autocast_enabled(device):
        return _without_autocast(device)
    return nullcontext() if _summed_up() == _FULL else _full_float32()


@contextmanager
def _without_autocast(device: str) -> Iterator[None]:
    with torch.autocast(device, enabled=False), _full_float32():
        yield


@contextmanager
def _full_float32() -> Iterator[None]:
    """Set float32 products to full precision, and restore the settings on exit."""
    before = _summed_up()
    if before == _FULL:
        yield
        return
    backends = _backends()
    settings = [backend.fp32_precision for backend in backends]
    if before is not None:
        torch.set_float32_matmul_precision(_FULL)
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)
        for backend, setting in zip(backends, settings, strict=True):
            backend.fp32_precision = "none"
            if backend.fp32_precision != setting:  # else it follows the setting of all backends
                backend.fp32_precision = setting


def _summed_up() -> str | None:
    """Return the common precision of all backends, None where they differ."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _backends() -> list[Any]:
    """Return the backends that have a setting of their own, as they do from torch 2.9 on."""
    both: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn)
    found = (both[0], getattr(both[1], "matmul", None))
    return [backend for backend in found if hasattr(backend, "fp32_precision")]
