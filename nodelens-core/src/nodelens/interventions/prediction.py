"""How well a metric predicts the damage of single nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.analyses.ranks import directed, kendall, shown_name, spearman
from nodelens.interventions.damage import Damage
from nodelens.interventions.removal import random_order
from nodelens.scoring.scores import Scores
from nodelens.training.estimates import Estimate

Correlation = Callable[[NDArray[np.float64], NDArray[np.float64]], float | None]

_FOLDS = 50
"""Delete-one jackknife up to so many nodes, beyond that delete-a-block with so many blocks."""


@frozen(eq=False)
class GroupPrediction:
    """One metric against the damage in one group.

    The correlations are None, with the reason in `note`, where they are undefined. Their standard
    errors are jackknife ones over the nodes: NaN below four nodes. `overlap` is the share of the
    `k` most damaging nodes among the metric's `k` most important ones, corrected for chance: 1 for
    the same nodes, 0 for as many as by chance.
    """

    group: str
    nodes: int
    spearman: Estimate | None
    kendall: Estimate | None
    overlap: float | None
    note: str = ""


@frozen(eq=False)
class Prediction:
    """One metric against the damage in all groups that it scores.

    The pooled numbers are means over the groups where they are defined, weighted by measured nodes;
    groups count as independent for the standard errors.
    """

    metric: str
    has_direction: bool
    groups: tuple[GroupPrediction, ...]

    @property
    def spearman(self) -> Estimate | None:
        """The pooled rank correlation."""
        return _pooled([(each.nodes, each.spearman) for each in self.groups])

    @property
    def kendall(self) -> Estimate | None:
        """The pooled tau-b."""
        return _pooled([(each.nodes, each.kendall) for each in self.groups])

    @property
    def overlap(self) -> float | None:
        """The pooled overlap of the top nodes."""
        found = [
            (each.nodes, None if each.overlap is None else Estimate(each.overlap, math.nan))
            for each in self.groups
        ]
        pooled = _pooled(found)
        return None if pooled is None else pooled.value

    @property
    def nodes(self) -> int:
        """The number of nodes behind the pooled rank correlation."""
        return sum(each.nodes for each in self.groups if each.spearman is not None)


def _pooled(parts: Sequence[tuple[int, Estimate | None]]) -> Estimate | None:
    known = [(nodes, estimate) for nodes, estimate in parts if estimate is not None]
    if not known:
        return None
    weights = np.array([nodes for nodes, _ in known], dtype=np.float64)
    weights /= weights.sum()
    value = sum(w * each.value for w, (_, each) in zip(weights, known, strict=True))
    squares = sum((w * each.se) ** 2 for w, (_, each) in zip(weights, known, strict=True))
    return Estimate(float(value), math.sqrt(squares))


def predict(scores: Scores, damages: Sequence[Damage], top: float, seed: int) -> list[Prediction]:
    """Return how well every metric predicts the damage, in the order of the config."""
    found = []
    for metric in scores.metrics:
        groups = []
        name, has_direction = metric, True
        for damage in damages:
            if (metric, damage.group) in scores:
                score = scores[metric, damage.group]
                name, has_direction = shown_name(score), score.better != "neither"
                groups.append(_in_group(directed(score)[damage.nodes], damage, top, seed))
        if groups:
            found.append(Prediction(name, has_direction, tuple(groups)))
    return found


def _in_group(
    values: NDArray[np.float64], damage: Damage, top: float, seed: int
) -> GroupPrediction:
    folds = np.array_split(
        random_order(len(values), seed, "jackknife", damage.group), min(_FOLDS, len(values))
    )
    return GroupPrediction(
        group=damage.group,
        nodes=len(values),
        spearman=_jackknife(spearman, values, damage.change, folds),
        kendall=_jackknife(kendall, values, damage.change, folds),
        overlap=top_overlap(values, damage.change, top),
        note=_why_undefined(values, damage.change),
    )


def _why_undefined(values: NDArray[np.float64], change: NDArray[np.float64]) -> str:
    if len(values) < 3:
        return "fewer than three nodes"
    if np.ptp(values) == 0:
        return "the metric is constant"
    return "all damages are equal" if np.ptp(change) == 0 else ""


def _jackknife(
    correlation: Correlation,
    values: NDArray[np.float64],
    change: NDArray[np.float64],
    folds: Sequence[NDArray[np.int64]],
) -> Estimate | None:
    """Return the correlation with its standard error, from leaving out one fold at a time."""
    whole = correlation(values, change)
    if whole is None:
        return None
    without = [correlation(np.delete(values, fold), np.delete(change, fold)) for fold in folds]
    known = np.array([value for value in without if value is not None])
    if len(known) < len(folds):
        return Estimate(whole, math.nan)
    count = len(folds)
    se = math.sqrt((count - 1) / count * float(((known - known.mean()) ** 2).sum()))
    return Estimate(whole, se)


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
