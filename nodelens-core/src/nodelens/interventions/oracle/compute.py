"""The loss change of ablating one node, for every node or a sample of nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from nodelens.analyses.ranks import rank_fractions
from nodelens.interventions.ablation_order import random_order
from nodelens.training.model_evaluation import EvaluationResult, paired

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup
    from nodelens.interventions.ablator import Ablator
    from nodelens.scoring.scores import Scores


@frozen(eq=False)
class AblationEffect:
    """The loss change of ablating each measured node of one group, in nats.

    `nodes`, `change` and `se` are ``(measured,)``; `se` is the standard error of the paired
    difference over samples. A positive change is damage, a negative one an improvement. `noise` is
    the variance between nodes that sampling errors alone would give, in squared nats; NaN where it
    is not known.
    """

    group: str
    nodes: NDArray[np.int64]
    change: NDArray[np.float64]
    se: NDArray[np.float64]
    noise: float

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """The nodes whose change is two standard errors from zero, or zero on every sample."""
        return np.abs(self.change) >= 2 * self.se

    def reliability(self) -> float | None:
        """Return the fraction of the variance between nodes that is not measurement noise.

        No score can be expected to correlate with the measured damage better than about the square
        root of that. None for fewer than two nodes, for equal damages and for infinite ones.
        """
        if len(self.change) < 2 or not np.isfinite(self.change).all() or np.ptp(self.change) == 0:
            return None
        noise = self.noise / float(np.var(self.change, ddof=1))
        return max(0.0, 1.0 - noise) if np.isfinite(noise) else None


@define
class _Noise:
    """The measurement noise between nodes, summed from the errors of one node after the other.

    All nodes are measured on the same samples, so that their errors have a part in common, which
    moves all changes alike and cannot reorder nodes: it is taken out, by subtracting on every row
    the mean over nodes. Written as sums, so that only one row of the matrix is held at a time.
    """

    nodes: int = 0
    squares: float = 0.0
    common: NDArray[np.float64] | float = 0.0

    def add(self, after: EvaluationResult, before: EvaluationResult) -> None:
        """Add the errors that the rows give to the change of one node."""
        with np.errstate(invalid="ignore"):  # infinite losses: the noise is NaN, as it should be
            errors = row_errors(after.losses - before.losses, before.counts)
            self.squares += float(errors @ errors)
            self.common = self.common + errors
        self.nodes += 1

    def between(self) -> float:
        """Return the expected variance between nodes, NaN for fewer than two."""
        if self.nodes < 2:
            return math.nan
        shared = float(np.sum(np.square(self.common))) / self.nodes
        own = self.squares - shared
        return math.nan if math.isnan(own) else max(0.0, own) / (self.nodes - 1)


def row_errors(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``(rows,)`` whose sum of squares is the squared standard error of `ratio`.

    They are what every row adds to the error of the mean, so that products of those of two means
    over the same rows sum to the covariance. NaN for fewer than two rows.
    """
    rows, total = int((counts > 0).sum()), int(counts.sum())
    if rows < 2:
        return np.full(len(sums), np.nan)
    residuals = sums - sums.sum() / total * counts
    errors: NDArray[np.float64] = residuals * math.sqrt(rows / (rows - 1)) / total
    return errors


def measure(ablator: Ablator, sampled: Mapping[str, NDArray[np.int64]]) -> list[AblationEffect]:
    """Return the damage of every sampled node, given by group; one evaluation per node."""
    total = sum(len(nodes) for nodes in sampled.values())
    progress, done = ablator.request.progress, 0
    found = []
    for name, nodes in sampled.items():
        estimates, noise = [], _Noise()
        for node in nodes.tolist():
            progress("single-node damage", done, total)
            after = ablator.evaluate_without({name: [node]})
            estimates.append(paired(after, ablator.dense))
            noise.add(after, ablator.dense)
            done += 1
        change, se = np.array(estimates).reshape(-1, 2).T
        found.append(AblationEffect(name, nodes, change, se, noise.between()))
    progress("single-node damage", done, total)
    return found


def sample_nodes(
    groups: Sequence[ChannelGroup], scores: Scores, count: int | None, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return the nodes to measure by group, sorted: all, or `count` of them, stratified.

    The strata are equal parts of the nodes, ordered by the mean importance rank of all metrics
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
        if score.group == group.name and score.higher_is_better is not None
    ]
    mean = np.mean(ranks, axis=0) if ranks else np.zeros(group.width)
    order = np.lexsort((chance, mean))
    return np.array([part[chance[part].argmin()] for part in np.array_split(order, count)])


def all_nodes(damages: Sequence[AblationEffect]) -> Iterator[tuple[str, int, float, float, bool]]:
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
