"""Small sets of nodes, and measures of their joint correlations."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nodelens.scoring.view import GroupView
    from nodelens_metrics.higher_order import Measure
    from nodelens_metrics.tiles import Correlations

_AT_ONCE = 2**19
"""Matrix entries that are worked on at once."""


class SetMetric(Protocol):
    """The options of metrics that average over sets."""

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
        """Relative variance of the noise given to all."""

    @property
    def sketch(self) -> int | None:
        """Rank of the sketch."""


def mean_over_sets(group: GroupView, metric: SetMetric, measure: Measure) -> Tensor:
    """Return the mean of a measure over the sets of each node, ``(nodes,)`` float64."""
    import torch

    from nodelens_metrics.information import second_moments
    from nodelens_metrics.tiles import correlations_in

    rho = correlations_in(group[second_moments(metric.sketch)])
    offsets = _offsets(group.width, metric.size, metric.sets).to(rho.live.device)
    order = connectedness(rho).argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    step = max(1, _AT_ONCE // (len(offsets) * metric.size**2))
    found = []
    for first in range(0, len(order), step):
        nodes = torch.arange(first, min(first + step, len(order)), device=order.device)
        others = order[(place[nodes, None, None] + offsets) % len(order)]
        own = nodes[:, None, None].expand(-1, len(offsets), 1)
        matrices = joint_correlations(rho, torch.cat([own, others], dim=2), metric.noise)
        found.append(measured(matrices, measure).mean(1))
    bias = _bias(measure, metric.size, rho.count) if metric.correct_bias else 0.0
    return torch.cat(found) - bias


def connectedness(rho: Correlations) -> Tensor:
    """Return Σ_j ρ_ij², an order of the nodes that does not depend on how they are numbered."""
    import torch

    return torch.cat([tile.square().sum(1) for _, tile in rho.tiles()])


def joint_correlations(rho: Correlations, members: Tensor, noise: float) -> Tensor:
    """Return the matrices of sets of nodes ``(..., size)``: ``(..., size, size)``, of full rank."""
    import torch

    size = members.shape[-1]
    upper = torch.triu_indices(size, size, 1, device=members.device)
    entries = rho.entries(members[..., upper[0]], members[..., upper[1]]) / (1.0 + noise)
    matrices = torch.eye(size, dtype=torch.float64, device=members.device)
    matrices = matrices.repeat(*members.shape[:-1], 1, 1)
    matrices[..., upper[0], upper[1]] = entries
    matrices[..., upper[1], upper[0]] = entries
    return matrices


def measured(matrices: Tensor, measure: Measure) -> Tensor:
    """Return one measure of each matrix."""
    from nodelens_metrics.higher_order import (
        dual_total_correlation,
        o_information,
        total_correlation,
    )

    functions = {"tc": total_correlation, "dtc": dual_total_correlation, "o": o_information}
    return functions[measure](matrices)


def _offsets(nodes: int, size: int, sets: int) -> torch.Tensor:
    """Return how far behind a node the others of its sets are, ``(sets, size − 1)`` int64."""
    import torch

    from nodelens.seeding import generator

    if nodes < size:
        raise NotApplicableError(f"the group has {nodes} nodes, a set of {size} needs more")
    if math.comb(nodes - 1, size - 1) <= sets:
        return torch.tensor(list(combinations(range(1, nodes), size - 1)))
    random = generator(0, "nodelens_metrics", "sets")
    drawn = [torch.randperm(nodes - 1, generator=random)[: size - 1] + 1 for _ in range(sets)]
    return torch.stack(drawn)


def _bias(measure: Measure, size: int, samples: Tensor) -> float:
    """Return by how much a measure of a set is too large in independent Gaussian samples."""
    from nodelens_metrics.estimators import gaussian_entropy_bias

    one, most, every = (float(gaussian_entropy_bias(d, samples)) for d in (1, size - 1, size))
    if not math.isfinite(every):
        raise NotApplicableError(f"the bias of sets of {size} needs more than {size} samples")
    total = size * one - every
    dual = size * most - (size - 1) * every
    return {"tc": total, "dtc": dual, "o": total - dual}[measure]
