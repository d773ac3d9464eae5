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

    live = moment.diagonal() > 0
    left = torch.zeros_like(moment.diagonal())
    if live.any():
        left[live] = _inverse(moment[live][:, live], damping).diagonal().reciprocal()
    return left


def unexplained_blocks(moment: Tensor, damping: float, components: int) -> Tensor:
    """Return ((M⁻¹)_ii)⁻¹ of the blocks of nodes, ``(nodes, components, components)``.

    As `unexplained`, for nodes of several components; 0 for components that are always 0.
    """
    import torch

    live = moment.diagonal() > 0
    inverse = torch.eye(len(live), dtype=moment.dtype, device=moment.device)
    chosen = live.nonzero().flatten()
    if len(chosen):
        inverse[chosen.unsqueeze(1), chosen] = _inverse(moment[live][:, live], damping)
    both = live.view(-1, components)
    left: Tensor = torch.linalg.inv(diagonal_blocks(inverse, components))
    return left * (both.unsqueeze(2) & both.unsqueeze(1))


def _inverse(part: Tensor, damping: float) -> Tensor:
    """Return the inverse of damped second moments without zeros on the diagonal."""
    import torch

    from nodelens.errors import NotApplicableError

    part.diagonal().add_(damping * part.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(part)
    pivots = factor.diagonal().square() / part.diagonal()
    if int(failed) or float(pivots.min()) < RESOLUTION:
        raise NotApplicableError(
            "the second moments are singular (duplicate nodes, or fewer samples than nodes); "
            "set damping above 0"
        )
    inverse: Tensor = torch.cholesky_inverse(factor)
    return inverse


def diagonal_blocks(matrices: Tensor, components: int) -> Tensor:
    """Return the blocks of nodes on the diagonal, ``(…, nodes, components, components)``."""
    sides = (matrices.shape[-1] // components, components)
    apart = matrices.reshape(*matrices.shape[:-2], *sides, *sides)
    return apart.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
