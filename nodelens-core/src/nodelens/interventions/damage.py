"""The loss change of taking away one node, for every node or a sample of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.analyses.ranks import rank_fractions
from nodelens.channels.groups import ChannelGroup
from nodelens.interventions.bench import Bench
from nodelens.interventions.removal import random_order
from nodelens.scoring.scores import Scores
from nodelens.training.evaluation import paired


@frozen(eq=False)
class Damage:
    """The measured nodes of one group with the loss change of removing each, in nats.

    `nodes`, `change` and `se` are ``(measured,)``; `se` is the standard error of the paired
    difference over samples. A positive change is damage, a negative one an improvement.
    """

    group: str
    nodes: NDArray[np.int64]
    change: NDArray[np.float64]
    se: NDArray[np.float64]

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """Where the change is at least two standard errors from zero, or zero on every sample."""
        return np.abs(self.change) >= 2 * self.se

    def reliability(self) -> float | None:
        """Return the share of the variance between nodes that is not measurement noise, 0 to 1.

        No score can be expected to correlate with the measured damage better than about its square
        root. None for fewer than two nodes and for equal damages.
        """
        if len(self.change) < 2 or np.ptp(self.change) == 0:
            return None
        noise = float(np.mean(self.se**2)) / float(np.var(self.change, ddof=1))
        return max(0.0, 1.0 - noise) if np.isfinite(noise) else None


def measure(bench: Bench, sampled: Mapping[str, NDArray[np.int64]]) -> list[Damage]:
    """Return the damage of every sampled node, given by group; one evaluation per node."""
    total = sum(len(nodes) for nodes in sampled.values())
    progress, done = bench.request.progress, 0
    found = []
    for name, nodes in sampled.items():
        estimates = []
        for node in nodes.tolist():
            progress("single-node damage", done, total)
            estimates.append(paired(bench.without({name: [node]}), bench.dense))
            done += 1
        change, se = np.array(estimates).reshape(-1, 2).T
        found.append(Damage(name, nodes, change, se))
    progress("single-node damage", done, total)
    return found


def sample_nodes(
    groups: Sequence[ChannelGroup], scores: Scores, count: int | None, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return the nodes to measure by group, sorted: all, or `count` of them, stratified.

    The strata are equal shares of the nodes, ordered by the mean importance rank of all metrics
    with a direction (at random without any); one node is drawn at random from each.
    """
    return {group.name: np.sort(_drawn(group, scores, count, seed)) for group in groups}


def _drawn(group: ChannelGroup, scores: Scores, count: int | None, seed: int) -> NDArray[np.int64]:
    if count is None or count >= group.width:
        return np.arange(group.width)
    chance = random_order(group.width, seed, "oracle", group.name)
    ranks = [
        rank_fractions(score.importance())
        for score in scores
        if score.group == group.name and score.better != "neither"
    ]
    mean = np.mean(ranks, axis=0) if ranks else np.zeros(group.width)
    order = np.lexsort((chance, mean))
    return np.array([share[chance[share].argmin()] for share in np.array_split(order, count)])


def all_nodes(damages: Sequence[Damage]) -> Iterator[tuple[str, int, float, float, bool]]:
    """Yield ``(group, node, change, se, resolved)``, the most damaging node first."""
    rows = [
        (damage.group, node, change, se, resolved)
        for damage in damages
        for node, change, se, resolved in zip(
            damage.nodes.tolist(),
            damage.change.tolist(),
            damage.se.tolist(),
            damage.resolved.tolist(),
            strict=True,
        )
    ]
    yield from sorted(rows, key=lambda row: -row[2])
