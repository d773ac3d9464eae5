"""Information between pairs of nodes as jointly Gaussian numbers, or vectors of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens_metrics.mathematics.blocks import BlockCorrelations
    from nodelens_metrics.mathematics.tiles import Correlations

_AT_ONCE = 2**22
"""Entries of joint matrices in memory at once."""


def pair_information(rho: BlockCorrelations, noise: float) -> Tensor:
    """Return the information between all pairs of nodes as Gaussian vectors, ``(nodes, nodes)``.

    −½ Σ log(1 − κ²) over the canonical correlations κ of the components with their noise; 0 on the
    diagonal.
    """
    import torch

    from nodelens_metrics.information.sets import joint_correlations
    from nodelens_metrics.mathematics.total_correlation import total_correlation

    nodes = len(rho.live)
    pairs = torch.combinations(torch.arange(nodes, device=rho.scale.device))
    found = torch.zeros(nodes, nodes, dtype=torch.float64, device=pairs.device)
    for some in torch.split(pairs, max(1, _AT_ONCE // (2 * rho.components) ** 2)):
        matrices = joint_correlations(rho, some, noise)
        found[some[:, 0], some[:, 1]] = total_correlation(matrices, rho.components)
    return (found + found.T).clamp(min=0.0)


def mean_pair_information(
    rho: Correlations,
    *,
    noise: float,
    top: int | None = None,
    positive_only: bool = False,
    bias: float = 0.0,
) -> Tensor:
    """Return the mean over all partners, or the `top` largest, minus `bias` per varying partner.

    As `mean_information`, of vectors where nodes have several components: these have no sign.
    """
    from nodelens_metrics.mathematics.blocks import BlockCorrelations
    from nodelens_metrics.mathematics.pairwise import mean_information, mean_of_others

    if not isinstance(rho, BlockCorrelations):
        return mean_information(rho, noise=noise, top=top, positive_only=positive_only, bias=bias)
    live = rho.live.double()
    shared = pair_information(rho, noise) - live * bias
    return mean_of_others(shared, 0, top).clamp(min=0.0) * live
