"""Information between all pairs of nodes, in nats, reduced to one number per node in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens_metrics.tiles import Correlations


def information(rho: Tensor) -> Tensor:
    """Return −½ log(1 − ρ²) of correlations below 1: the information between two Gaussians."""
    return rho.square().neg_().log1p_().mul_(-0.5)


def pairwise_information(
    x: Tensor, *, noise: float = 1e-6, top: int | None = None, positive_only: bool = False
) -> Tensor:
    """Return what each node shares with the others on average, ``(nodes,)``, from stored samples.

    `x` is ``(samples, nodes)``; products are taken in its precision. See
    `nodelens_metrics.information.Redundancy` for the options.
    """
    from nodelens_metrics.tiles import correlations_of

    return mean_information(correlations_of(x), noise=noise, top=top, positive_only=positive_only)


def mean_information(
    rho: Correlations,
    *,
    noise: float,
    top: int | None = None,
    positive_only: bool = False,
    bias: float = 0.0,
) -> Tensor:
    """Return the mean over all partners, or the `top` largest, less `bias` per varying partner.

    0 for constant nodes; at least 0.
    """
    import torch

    live, found = rho.live.double(), []
    partners = max(1, len(live) - 1)
    count = min(top or partners, partners)
    for first, tile in rho.tiles():
        tile /= 1.0 + noise
        if positive_only:
            tile.clamp_(min=0.0)
        tile[:, first : first + len(tile)].fill_diagonal_(0.0)
        shared = information(tile)
        if bias:
            shared -= bias * live
            shared[:, first : first + len(tile)].fill_diagonal_(0.0)
        total = shared.sum(1) if count == partners else shared.topk(count, dim=1).values.sum(1)
        found.append(total / count)
    return torch.cat(found).clamp(min=0.0) * live
