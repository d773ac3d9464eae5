"""Rank correlations of a metric with the damage of single nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from nodelens.analyses.ranks import FEWEST, directed, kendall, shown_name, spearman
from nodelens.interventions.oracle.intervals import (
    FEWEST_NODES,
    Correlation,
    CorrelationKind,
    of_group,
    pooled,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.interventions.oracle.compute import AblationEffect
    from nodelens.scoring.scores import Scores


@frozen(eq=False)
class GroupPrediction:
    """The prediction of the damage in one group by one metric.

    The correlations are None where they are undefined; `note` says why, or that the nodes are too
    few for an interval. `size` is Spearman's correlation with the size of the damage, |change|, for
    metrics without a sign: those that are nowhere negative. `overlap` is the fraction of the `k`
    most damaging nodes in the metric's `k` most important ones, corrected for chance: 1 for the
    same nodes, 0 for as many as by chance.
    """

    group: str
    nodes: int
    spearman: Correlation | None
    kendall: Correlation | None
    size: Correlation | None
    overlap: float | None
    note: str = ""


@frozen(eq=False)
class Prediction:
    """The prediction of the damage by one metric, in all groups that the metric scores.

    The pooled numbers are means over the groups where they are defined, weighted by measured nodes.
    """

    metric: str
    has_direction: bool
    groups: tuple[GroupPrediction, ...]

    @property
    def spearman(self) -> Correlation | None:
        """The pooled rank correlation."""
        return pooled([each.spearman for each in self.groups if each.spearman is not None])

    @property
    def kendall(self) -> Correlation | None:
        """The pooled tau-b."""
        return pooled([each.kendall for each in self.groups if each.kendall is not None])

    @property
    def size(self) -> Correlation | None:
        """The pooled rank correlation with the size of the damage."""
        return pooled([each.size for each in self.groups if each.size is not None])

    @property
    def overlap(self) -> float | None:
        """The pooled overlap of the top nodes."""
        found = [(each.nodes, each.overlap) for each in self.groups if each.overlap is not None]
        nodes = sum(count for count, _ in found)
        return sum(count * value for count, value in found) / nodes if nodes else None

    @property
    def nodes(self) -> int:
        """The number of nodes behind the pooled rank correlation."""
        return sum(each.nodes for each in self.groups if each.spearman is not None)


def predict(scores: Scores, damages: Sequence[AblationEffect], top: float) -> list[Prediction]:
    """Return how well every metric predicts the damage, in the order of the config."""
    found = []
    for metric in scores.metrics:
        groups = []
        name, has_direction = metric, True
        signed = any((score.values < 0).any() for score in scores.of(metric).values())
        for damage in damages:
            if (metric, damage.group) in scores:
                score = scores[metric, damage.group]
                name, has_direction = shown_name(score), score.higher_is_better is not None
                groups.append(_in_group(directed(score)[damage.nodes], damage, top, signed))
        if groups:
            found.append(Prediction(name, has_direction, tuple(groups)))
    return found


def _in_group(
    values: NDArray[np.float64], damage: AblationEffect, top: float, signed: bool
) -> GroupPrediction:
    size = None if signed else spearman(values, np.abs(damage.change))
    return GroupPrediction(
        group=damage.group,
        nodes=len(values),
        spearman=_correlation("spearman", spearman(values, damage.change), len(values)),
        kendall=_correlation("kendall", kendall(values, damage.change), len(values)),
        size=_correlation("spearman", size, len(values)),
        overlap=top_overlap(values, damage.change, top),
        note=_note(values, damage.change),
    )


def _correlation(kind: CorrelationKind, value: float | None, nodes: int) -> Correlation | None:
    return None if value is None or math.isnan(value) else of_group(kind, value, nodes)


def _note(values: NDArray[np.float64], change: NDArray[np.float64]) -> str:
    if len(values) < FEWEST:
        return "fewer than three nodes"
    if np.isnan(change).any():
        return "a damage is not a number"
    if np.ptp(values) == 0:
        return "the metric is constant"
    if np.ptp(change) == 0:
        return "all damages are equal"
    return "too few nodes for an interval" if len(values) < FEWEST_NODES else ""


def top_overlap(
    values: NDArray[np.float64], change: NDArray[np.float64], top: float
) -> float | None:
    """Return ``(o - k/n) / (1 - k/n)``: the overlap `o` of the two top sets, corrected for chance.

    The sets hold ``k = top * n`` nodes, rounded half up and at least one. Where equal values meet
    at the edge of a set, each belongs to it in part, so that `o` is what breaking ties at random
    gives on average. None where the set would be the whole group.
    """
    size = len(values)
    k = max(1, math.floor(top * size + 0.5))
    if k >= size:
        return None
    overlap = float(_membership(values, k) @ _membership(change, k)) / k
    return (overlap - k / size) / (1 - k / size)


def _membership(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    edge = np.sort(values)[-k]
    above, at = values > edge, values == edge
    member: NDArray[np.float64] = above + at * ((k - above.sum()) / at.sum())
    return member
