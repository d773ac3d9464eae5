"""Sums about the mean of rows whose positions lie side by side in memory, as those of images do."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nodelens.statistics.contract import Reading
from nodelens.statistics.sweeps import chunk_on, swept

SHORTEST, LONGEST = 256, 2048
"""Positions of a row for which it pays, and of a piece whose squares float32 adds up well."""

NEAR = 9.0
"""Squares of a row's mean, in units of its variance, up to which it is summed about 0."""


def are_runs(values: Tensor) -> bool:
    """Whether `from_raw_sums` is for ``(rows, positions, nodes)``."""
    if values.dtype != torch.float32 or values.stride(1) != 1:
        return False
    return values.shape[1] >= SHORTEST and bool(_pieces(values.shape[1]))


def from_raw_sums(reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of each row, Σ(a − mean) and Σ(a − mean)², ``(rows, nodes)`` float64.

    They come from Σa and Σa², for which nothing as large as the values is written: that costs half
    of taking differences. Where a mean is so far from 0 that rounding would show, differences are
    taken nevertheless. Each row and node says so for itself: what else is in a batch changes
    nothing. The variance of a row has a relative error below 1e-5, where the mean is
    within a standard deviation of 0 below 1e-6.
    """
    values, length = reading.values, reading.values.shape[1]
    total, norms = swept(reading, lambda cut: _raw_sums(values[cut]))
    total = total.double()
    mean = total / length
    second = norms.double().square_().sum(1) if norms.ndim == 3 else norms.double().square_()
    second.addcmul_(mean, total, value=-1.0)
    first = torch.zeros_like(mean)
    far = (mean * total > NEAR * second).nonzero()
    step = max(1, chunk_on(values.device) // length)
    for some in torch.split(far, step) if len(far) else ():
        row, node = some.unbind(1)
        part = values.mT[row, node]
        centre = part.mean(1)
        d = part.sub_(centre.unsqueeze(1))
        mean[row, node], first[row, node] = centre.double(), d.sum(1).double()
        second[row, node] = d.square_().sum(1).double()
    return mean, first, second


def _raw_sums(part: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σa, ``(rows, nodes)``, and √Σa² of each piece, if they are several with an axis."""
    pieces = _pieces(part.shape[1])
    some = part if pieces == 1 else torch.unflatten(part, 1, (pieces, -1))
    return part.sum(1), torch.linalg.vector_norm(some, dim=-2)


@lru_cache
def _pieces(length: int) -> int:
    """Return how many equal pieces a row is cut to, none of them too long; 0 if it cannot be."""
    numbers = range(-(-length // LONGEST), length // SHORTEST + 1)
    return next((number for number in numbers if length % number == 0), 0)
