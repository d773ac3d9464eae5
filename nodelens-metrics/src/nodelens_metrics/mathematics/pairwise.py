"""Information between all pairs of nodes, in nats, reduced to one number per node in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens_metrics.mathematics.tiles import Correlations


def information(rho: Tensor) -> Tensor:
    """Return −½ log(1 − ρ²) of correlations below 1: the information between two Gaussians."""
    return rho.square().neg_().log1p_().mul_(-0.5)


def pairwise_information(
    x: Tensor, *, noise: float = 1e-6, top: int | None = None, positive_only: bool = False
) -> Tensor:
    """Return the mean information of each node with the others, ``(nodes,)``, from samples.

    `x` is ``(samples, nodes)``; products are taken in its precision. See
    `nodelens_metrics.information.redundancy.Redundancy` for the options.
    """
    from nodelens_metrics.mathematics.tiles import correlations_of

    return mean_information(correlations_of(x), noise=noise, top=top, positive_only=positive_only)


def mean_information(
    rho: Correlations,
    *,
    noise: float,
    top: int | None = None,
    positive_only: bool = False,
    bias: float = 0.0,
) -> Tensor:
    """Return the mean over all partners, or the `top` largest, minus `bias` per varying partner.

    Of unrelated nodes half are correlated negatively, so that `positive_only` halves the bias. 0
    for constant nodes; at least 0.
    """
    import torch

    live, found = rho.live.double(), []
    for first, tile in rho.tiles():
        tile /= 1.0 + noise
        if positive_only:
            tile.clamp_(min=0.0)
        tile[:, first : first + len(tile)].fill_diagonal_(0.0)
        shared = information(tile)
        if bias:
            shared -= live * (bias / 2 if positive_only else bias)
        found.append(mean_of_others(shared, first, top))
    return torch.cat(found).clamp(min=0.0) * live


def mean_of_others(
    tile: Tensor, first: int, top: int | None = None, *, largest: bool = True
) -> Tensor:
    """Return the mean of each row without its own column, or of its `top` largest or smallest.

    `tile` is ``(rows, nodes)``, the rows those of the nodes from `first` on, and is written to. 0
    where there is no other node.
    """
    partners = tile.shape[1] - 1
    count = min(top or partners, partners)
    own = tile[:, first : first + len(tile)]
    if count == partners:
        own.fill_diagonal_(0.0)
        return tile.sum(1) / max(1, partners)
    own.fill_diagonal_(float("-inf") if largest else float("inf"))
    return tile.topk(count, dim=1, largest=largest).values.mean(1)
