"""Models and inputs in float64, and the relative difference of outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nodelens.removal.journal import Journal

# What a tensor of one type becomes, so that rounding does not hide a difference.
PRECISE: Mapping[torch.dtype, torch.dtype] = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}

# The largest difference, relative to the largest output, that rounding can explain.
TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
    torch.complex128: 1e-9,
    torch.complex64: 1e-4,
    torch.complex32: 1e-2,
}


def has_fractions(tensor: Tensor) -> bool:
    """Whether a tensor holds real or complex numbers, which can be compared up to rounding."""
    return tensor.is_floating_point() or tensor.is_complex()


def own_tolerance(model: nn.Module) -> float:
    """Return the largest difference that rounding in the model's own data type can explain."""
    return max(TOLERANCES.get(each.dtype, 0.0) for each in model.parameters())


@contextmanager
def in_float64(model: nn.Module, precise: bool) -> Iterator[None]:
    """Give parameters and buffers data in float64 or complex128 while the context is open."""
    journal = Journal()
    try:
        for tensor in (*model.parameters(), *model.buffers()):
            if precise and tensor.dtype in PRECISE:
                journal.set_data(tensor, tensor.data.to(PRECISE[tensor.dtype]))
        yield
    finally:
        journal.undo()


def relative_difference(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return the largest absolute difference, relative to the largest value of that output.

    Infinite if numbers or shapes of outputs differ.
    """
    if [each.shape for each in outputs] != [each.shape for each in reference]:
        return float("inf")
    return max((_difference(a, b) for a, b in zip(outputs, reference, strict=True)), default=0.0)


def _difference(a: Tensor, b: Tensor) -> float:
    if not b.numel():
        return 0.0
    x, y = _real(a), _real(b)
    same = (x == y) | (x.isnan() & y.isnan())
    largest = float((x - y).abs().masked_fill(same, 0.0).nan_to_num(torch.inf).max())
    scale = float(y.masked_fill(~y.isfinite(), 0.0).abs().max())
    return largest / scale if scale else largest


def _real(tensor: Tensor) -> Tensor:
    """Return a tensor in float64; complex numbers as real and imaginary parts."""
    here = tensor.cpu()
    if here.is_complex():
        return torch.view_as_real(here.to(torch.complex128).resolve_conj())
    return here.to(torch.float64)
