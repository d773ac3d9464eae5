"""Mutual information of nodes by ranks, by neighbours, and within classes, in nats.

Estimated from a random sample of the data (`Reservoir`), whose correlations are computed in tiles.
Dead and constant nodes share nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.reservoir import Reservoir
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.class_correlations import (
    Terms,
    factored,
    factored_nodes,
    within_classes,
)
from nodelens_metrics.mathematics.intervals import UNMEASURED
from nodelens_metrics.mathematics.labelled_rows import labelled_rows, samples_of, settled
from nodelens_metrics.mathematics.second_moments import INVARIANCES

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.tiles import FactoredCorrelations


@frozen
class CopulaRedundancy:
    """Mean Gaussian-copula mutual information of a node with each other node.

    `redundancy` of normal scores: invariant under monotone maps of a node. Ties get their mean
    rank. The bias for independent samples is subtracted. At least 0; 0 for dead and constant nodes
    and in groups of one node.
    """

    info = MetricInfo(
        formula=(
            "mean_j −½ log(1 − ρ_ij²) − bias, ρ of Φ⁻¹(rank/(N+1)); of components: summed over the "
            "canonical correlations ρ"
        ),
        unit="nats",
        higher_is_better=False,
        source="Ince et al. 2017, 10.1002/hbm.23471, Gaussian copula information",
        dead_nodes="highest",
        invariances=INVARIANCES,
        no_interval=UNMEASURED,
    )

    top: int | None = options.top()
    noise: float = options.noise()
    samples: int = options.samples("positions")

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (Reservoir(size=self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.vectors import mean_pair_information
        from nodelens_metrics.mathematics.estimators import gaussian_information_bias, normal_scores

        values, width = settled(group[Reservoir(size=self.samples)].values), group.components
        bias = float(gaussian_information_bias(width, width, float(len(values))))
        rho = factored_nodes(normal_scores(values), width)
        return mean_pair_information(rho, noise=self.noise, top=self.top, bias=bias)


@frozen
class KSGRedundancy:
    """Mutual information of a node with its closest partners, by nearest neighbours (KSG).

    Partners are those with the largest rank correlation; information of any shape is then measured
    with each. 0 for dead and constant nodes and in groups of one node. An exact duplicate gets the
    most that neighbours resolve, about log of the number of samples.

    Attributes:
        partners: partners that are measured and averaged.
        neighbours: neighbours whose distance is measured.
        samples: positions that are sampled; the work grows with nodes × partners × samples.
    """

    info = MetricInfo(
        formula=(
            "mean_j ψ(k) + ψ(N) − ⟨ψ(n_i + 1) + ψ(n_j + 1)⟩; of components: mean over a node's "
            "components, j those of other nodes"
        ),
        unit="nats",
        higher_is_better=False,
        source="Kraskov et al. 2004, cond-mat/0305641, eq. 8 (algorithm 1)",
        dead_nodes="highest",
        invariances=INVARIANCES,
        no_interval=UNMEASURED,
    )

    partners: int = field(default=1, validator=validators.ge(1))
    neighbours: int = field(default=3, validator=validators.ge(1))
    samples: int = options.samples("positions", default=512)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (Reservoir(size=self.samples),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens.statistics.sample_draws import mix
        from nodelens_metrics.mathematics.estimators import normal_scores
        from nodelens_metrics.mathematics.neighbours import ksg_information

        found = group[Reservoir(size=self.samples)]
        values = settled(found.values)
        count = min(self.partners, (group.width - 1) * group.components)
        if count == 0 or not len(values):
            return torch.zeros(group.width, dtype=torch.float64, device=values.device)
        keys = mix(found.index.long()) ^ found.position.long()
        nearest = _nearest(factored(normal_scores(values)), count, group.components)
        shared = [
            ksg_information(values, values[:, partner], neighbours=self.neighbours, keys=keys)
            for partner in nearest.T
        ]
        return group.average(torch.stack(shared).mean(0))


def _nearest(rho: FactoredCorrelations, count: int, components: int) -> Tensor:
    """Return the `count` partners with the largest correlation of either sign.

    The components of one node are no partners of each other.
    """
    import torch

    found = []
    node = torch.arange(rho.factor.shape[1], device=rho.factor.device) // components
    for first, tile in rho.tiles():
        tile[node[first : first + len(tile), None] == node] = 0.0
        found.append(tile.abs().topk(count, dim=1).indices)
    return torch.cat(found)


@frozen
class ClassRedundancy:
    """Mean mutual information of a node with each other node, within classes.

    Two nodes that respond to the same classes and are otherwise unrelated share none. From the row
    means of sampled rows, Gaussian within each class with a correlation of its own, each class
    weighted by its fraction of the rows and minus its bias. Classes with fewer than five sampled
    rows are left out. At least 0; 0 for dead and constant nodes and in groups of one node.
    """

    info = MetricInfo(
        formula=(
            "mean_j Σ_c p_c (−½ log(1 − ρ_ij|c²) − bias(N_c)); of components: summed over the "
            "canonical correlations ρ"
        ),
        unit="nats",
        higher_is_better=False,
        source="Ince et al. 2017, 10.1002/hbm.23471, given a discrete variable",
        dead_nodes="highest",
        invariances=INVARIANCES,
    )

    top: int | None = options.top()
    noise: float = options.noise()
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        values, labels, _ = samples_of(group, self.samples)
        within = within_classes(values, labels, _LEAST_ROWS, components=group.components)
        return _averaged(within, self.noise, self.top).clamp(min=0.0)


@frozen
class ClassInteraction:
    """Mean interaction information of a node, each other node and the class label.

    Information within classes minus information over all rows. Negative where the classes are why
    nodes are alike (redundancy about the label), positive for nodes that are related in other ways
    by class (synergy). From the row means of sampled rows, as two Gaussians, all terms minus their
    biases; 0 for dead and constant nodes and in groups of one node.
    """

    info = MetricInfo(
        formula="mean_j I(a_i; a_j | class) − I(a_i; a_j), a the vector of a node's components",
        unit="nats",
        higher_is_better=True,
        source="McGill 1954, 10.1007/BF02289159, interaction information",
        invariances=INVARIANCES,
    )

    noise: float = options.noise()
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        values, labels, _ = samples_of(group, self.samples)
        terms = within_classes(
            values, labels, _LEAST_ROWS, over_all=-1.0, components=group.components
        )
        return _averaged(terms, self.noise, None)


_LEAST_ROWS = 5
"""Rows of a class that a correlation needs for a good estimate of its bias."""


def _averaged(terms: Terms, noise: float, top: int | None) -> Tensor:
    """Return the mean over partners of the weighted information of several correlations."""
    import torch

    from nodelens_metrics.information.vectors import pair_information
    from nodelens_metrics.mathematics.blocks import BlockCorrelations, components_of
    from nodelens_metrics.mathematics.estimators import gaussian_information_bias
    from nodelens_metrics.mathematics.pairwise import information, mean_of_others

    width = components_of(terms[0][1])
    biases = [float(gaussian_information_bias(width, width, rho.count)) for _, rho in terms]
    if width > 1:
        parts = [
            weight * (pair_information(rho, noise) - bias * rho.live.double().outer(rho.live))
            for (weight, rho), bias in zip(terms, biases, strict=True)
            if isinstance(rho, BlockCorrelations)
        ]
        return mean_of_others(torch.stack(parts).sum(0), 0, top)
    found = []
    for tiles in zip(*(rho.tiles() for _, rho in terms), strict=True):
        first, total = tiles[0][0], torch.zeros_like(tiles[0][1])
        for (weight, rho), bias, (_, tile) in zip(terms, biases, tiles, strict=True):
            live = rho.live.double()
            both = live[first : first + len(tile), None] * live
            total += weight * (information(tile / (1.0 + noise)) - bias * both)
        found.append(mean_of_others(total, first, top))
    return torch.cat(found)
