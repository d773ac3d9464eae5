"""The option class of the cluster analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.scoring.scores import Scores


@frozen
class Clusters:
    """Clusters of nodes in the space of all metrics, each ranked within its group.

    The number of clusters is the one with the largest mean silhouette. Clusters are reported only
    where ``p = (b + 1) / (m + 1) <= 0.05`` in three tests: silhouette and stability (mean adjusted
    Rand index over random subsets of 80 % of the nodes) against nodes with every metric permuted
    within groups, and the silhouette against nodes without clusters but with the same rank
    correlations. Else the finding says "no structure".

    Attributes:
        method: hierarchical (Ward's linkage) or k-means.
        scope: overall clusters the nodes of all groups together; group clusters each group.
        largest: number of clusters that is tried at most; the smallest is 2.
        permutations: reference draws of each kind; fewer than 19 can never reach p = 0.05.
        subsets: random subsets behind the stability.
        nodes: nodes that are clustered at most, drawn at random from larger sets.
    """

    method: Literal["hierarchical", "kmeans"] = "hierarchical"
    scope: Literal["overall", "group"] = "overall"
    largest: int = field(default=6, validator=validators.ge(2))
    permutations: int = field(default=99, validator=validators.ge(19))
    subsets: int = field(default=10, validator=validators.ge(2))
    nodes: int = field(default=1000, validator=validators.ge(12))

    def analyse(self, scores: Scores, seed: int) -> Finding:
        from nodelens.analyses.clusters.finding import clusters

        return clusters(self, scores, seed)
