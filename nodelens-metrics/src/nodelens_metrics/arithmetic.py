"""Divisions and comparisons that decide what dead and constant nodes get."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 2.0**-50
"""A standard deviation below this fraction of the mean is rounding: the node is constant."""

RESOLUTION = 2.0**-40
"""A part of a variance below this fraction of the whole is not told from zero by float64 sums."""


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    return (numerator / denominator.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def varies(mean: Tensor, variance: Tensor) -> Tensor:
    """Return True for every node whose variance is more than rounding of a constant."""
    return variance > (ROUNDING * mean).square()
