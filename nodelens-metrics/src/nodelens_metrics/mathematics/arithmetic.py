"""Divisions and comparisons that decide the scores of dead and constant nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 2.0**-50
"""A standard deviation below this fraction of the mean is rounding: the node is constant."""

RESOLUTION = 2.0**-40
"""A part of a variance below this fraction of the whole is zero in float64 sums."""


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    return (numerator / denominator.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def varies(mean: Tensor, variance: Tensor) -> Tensor:
    """Return True for every node whose variance is more than rounding of a constant."""
    return variance > (ROUNDING * mean).square()


def unexplained(moment: Tensor, damping: float) -> Tensor:
    """Return 1 / (M⁻¹)_ii of damped second moments M, 0 for nodes that are always 0.

    The part of each node's second moment that the best linear prediction from the other nodes
    leaves. `damping` is added to the diagonal, relative to its mean. Raises `NotApplicableError`
    where M is singular without it.
    """
    import torch

    from nodelens.errors import NotApplicableError

    live = moment.diagonal() > 0
    left = torch.zeros_like(moment.diagonal())
    part = moment[live][:, live]
    if not len(part):
        return left
    part.diagonal().add_(damping * part.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(part)
    pivots = factor.diagonal().square() / part.diagonal()
    if int(failed) or float(pivots.min()) < RESOLUTION:
        raise NotApplicableError(
            "the second moments are singular (duplicate nodes, or fewer samples than nodes); "
            "set damping above 0"
        )
    left[live] = torch.cholesky_inverse(factor).diagonal().reciprocal()
    return left
