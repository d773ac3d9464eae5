"""Information about nodes of several components: with other groups' nodes, and with a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.statistics.pairs import CrossSummary


def cross_information(moments: CrossSummary, noise: float) -> Tensor:
    """Return the information between nodes of two groups as Gaussian vectors, ``(nodes, others)``.

    −½ log |I − KKᵀ|, K the correlations between the components of two nodes after each node's own
    components, with their noise, have been made uncorrelated.
    """
    import torch

    left, right = (_whitening(each, noise) for each in (moments.within, moments.other_within))
    shape = (len(left), left.shape[-1], len(right), right.shape[-1])
    between = left.unsqueeze(1) @ moments.covariance.view(shape).movedim(2, 1) @ right.mT
    if between.shape[-2] > between.shape[-1]:
        between = between.mT
    unit = torch.eye(between.shape[-2], dtype=between.dtype, device=between.device)
    logdet: Tensor = torch.linalg.slogdet(unit - between @ between.mT).logabsdet
    return -0.5 * logdet


def vector_information(rho: Tensor, within: Tensor, noise: float) -> Tensor:
    """Return the information between each node's vector and a number, ``(nodes,)``.

    `rho` are the correlations of all components with the number, `within` the covariances between
    the components of one node; components and number have noise.
    """
    scaled = _whitening(within, noise) * within.diagonal(dim1=-2, dim2=-1).sqrt().unsqueeze(-2)
    along = scaled @ rho.view(len(within), -1, 1)
    explained = along.square().sum((1, 2)) / (1.0 + noise)
    found: Tensor = -0.5 * (-explained).log1p()
    return found


def _whitening(within: Tensor, noise: float) -> Tensor:
    """Return L⁻¹ with LLᵀ the covariance of each node's components and noise of their variance.

    Constant components stay 0.
    """
    import torch

    from nodelens_metrics.mathematics.arithmetic import ratio

    size = within.diagonal(dim1=-2, dim2=-1).sqrt()
    rho = ratio(within, size.unsqueeze(-1) * size.unsqueeze(-2))
    rho.diagonal(dim1=-2, dim2=-1).fill_(1.0 + noise)
    factor = torch.linalg.cholesky(rho)
    unit = torch.eye(rho.shape[-1], dtype=rho.dtype, device=rho.device).expand_as(rho)
    inverse = torch.linalg.solve_triangular(factor, unit, upper=False)
    scaled: Tensor = inverse * ratio(torch.ones_like(size), size).unsqueeze(-2)
    return scaled
