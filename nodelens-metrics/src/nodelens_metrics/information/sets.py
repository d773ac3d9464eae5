"""Small sets of nodes, and means of measures of their joint correlations."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from nodelens.errors import NotApplicableError
from nodelens_metrics.mathematics.blocks import components_of
from nodelens_metrics.mathematics.total_correlation import Measure, measured

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nodelens_metrics.mathematics.class_correlations import Terms
    from nodelens_metrics.mathematics.tiles import Correlations

_AT_ONCE = 2**19
"""Matrix entries in memory at once."""


class SetMetric(Protocol):
    """Options of metrics that average over sets."""

    @property
    def size(self) -> int:
        """Nodes in a set."""

    @property
    def sets(self) -> int:
        """Sets of each node."""

    @property
    def correct_bias(self) -> bool:
        """Whether biases are subtracted."""

    @property
    def noise(self) -> float:
        """Relative variance of the noise that every node gets."""


def mean_over_sets(terms: Terms, metric: SetMetric, measure: Measure) -> Tensor:
    """Return the weighted mean of a measure over the sets of each node, ``(nodes,)`` float64."""
    import torch

    order = connectedness(terms).argsort(stable=True)
    nodes = torch.arange(len(order), device=order.device)
    place = torch.empty_like(order).scatter_(0, order, nodes)
    offsets = _offsets(len(order), metric.size, metric.sets).to(order.device)
    entries = (metric.size * components_of(terms[0][1])) ** 2
    step = max(1, _AT_ONCE // (len(offsets) * entries))
    found = []
    for part in torch.split(nodes, step):
        others = order[(place[part, None, None] + offsets) % len(order)]
        own = part[:, None, None].expand(-1, len(offsets), 1)
        members = torch.cat([own, others], dim=2)
        found.append(_mean_measure(terms, members, metric, measure))
    return torch.cat(found)


def _mean_measure(terms: Terms, members: Tensor, metric: SetMetric, measure: Measure) -> Tensor:
    """Return each node's mean measure minus its bias; `members` ``(nodes, sets, size)``.

    A node that does not vary is independent of the others in any sample and has no bias.
    """
    total = members.new_zeros(len(members)).double()
    for weight, rho in terms:
        components = components_of(rho)
        found = measured(joint_correlations(rho, members, metric.noise), measure, components)
        if metric.correct_bias:
            found = found - _biases(rho, members, measure)
        total += weight * found.mean(1)
    return total


def _biases(rho: Correlations, members: Tensor, measure: Measure) -> Tensor:
    """Return the bias of a measure of each set, ``(nodes, sets)``."""
    components, size = components_of(rho), members.shape[-1]
    varying = rho.live[members].sum(-1)
    return measure_biases(measure, size, rho.count, components)[varying]


def connectedness(terms: Terms) -> Tensor:
    """Return Σ_j ρ_ij², a sort key of nodes that does not depend on their numbering."""
    import torch

    from nodelens_metrics.mathematics.class_correlations import mean_strengths

    return torch.cat([tile.square().sum(1) for _, tile in mean_strengths(terms)])


def joint_correlations(rho: Correlations, members: Tensor, noise: float) -> Tensor:
    """Return correlations of node sets ``(..., size)``, ``(..., size, size)``, of full rank.

    Nodes of several components have a row and a column for each of these.
    """
    import torch

    from nodelens_metrics.mathematics.blocks import BlockCorrelations, component_indices

    if isinstance(rho, BlockCorrelations):
        return joint_correlations(rho.inner, component_indices(members, rho.components), noise)
    size = members.shape[-1]
    upper = torch.triu_indices(size, size, 1, device=members.device)
    entries = rho.entries(members[..., upper[0]], members[..., upper[1]])
    matrices = torch.eye(size, dtype=torch.float64, device=members.device)
    matrices = matrices.repeat(*members.shape[:-1], 1, 1)
    matrices[..., upper[0], upper[1]] = entries
    matrices[..., upper[1], upper[0]] = entries
    return with_noise(matrices, noise)


def with_noise(rho: Tensor, noise: float) -> Tensor:
    """Return correlations ``(..., n, n)`` of full rank: of nodes with noise of their own.

    Products in float32 leave eigenvalues below 0, which correlations cannot have; where these would
    cancel the noise, they become 0.
    """
    import torch

    noisy = rho.clone()
    diagonal = noisy.diagonal(dim1=-2, dim2=-1)
    diagonal += 0.5 * noise
    wrong = torch.linalg.cholesky_ex(noisy).info > 0
    diagonal += 0.5 * noise
    if wrong.any():
        values, vectors = torch.linalg.eigh(rho[wrong])
        values = values.clamp(min=0.0) + noise
        noisy[wrong] = (vectors * values.unsqueeze(-2)) @ vectors.mT
    size = diagonal.sqrt()
    noisy /= size.unsqueeze(-1)
    noisy /= size.unsqueeze(-2)
    diagonal.fill_(1.0)
    return noisy


def _offsets(nodes: int, size: int, sets: int) -> torch.Tensor:
    """Return the offsets of a set's other nodes from its first, ``(sets, size − 1)`` int64."""
    import torch

    from nodelens.seeding import generator

    if nodes < size:
        raise NotApplicableError(f"the group has {nodes} nodes, a set of {size} needs more")
    if math.comb(nodes - 1, size - 1) <= sets:
        return torch.tensor(list(combinations(range(1, nodes), size - 1)))
    random = generator(0, "nodelens_metrics", "sets")
    drawn = [torch.randperm(nodes - 1, generator=random)[: size - 1] + 1 for _ in range(sets)]
    return torch.stack(drawn)


def measure_biases(measure: Measure, size: int, samples: Tensor, components: int = 1) -> Tensor:
    """Return the bias of a measure of 0, 1, … `size` Gaussian nodes, ``(size + 1,)``.

    The bias does not depend on the correlations. Raises `NotApplicableError` with too few samples.
    """
    import torch

    from nodelens_metrics.mathematics.estimators import gaussian_entropy_bias

    widths = [nodes * components for nodes in range(size + 1)]
    entropy = torch.stack([gaussian_entropy_bias(width, samples) for width in widths])
    if not entropy.isfinite().all():
        raise NotApplicableError(f"the bias of sets of {size} needs more than {widths[-1]} samples")
    nodes = torch.arange(size + 1, dtype=entropy.dtype, device=entropy.device)
    total = nodes * entropy[1] - entropy
    dual = nodes * entropy.roll(1) - (nodes - 1) * entropy
    return {"tc": total, "dtc": dual, "o": total - dual}[measure]
