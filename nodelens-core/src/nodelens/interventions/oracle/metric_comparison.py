"""Comparison of metrics by how well each predicts the damage, with permutation tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from scipy.stats import rankdata

from nodelens.analyses.ranks import rank_correlations
from nodelens.interventions.ablation_order import random_order
from nodelens.interventions.oracle.intervals import FEWEST_NODES, Correlation
from nodelens.interventions.oracle.prediction import Prediction
from nodelens.seeding import generator
from nodelens.training.estimate import Estimate

if TYPE_CHECKING:
    from nodelens.interventions.oracle.compute import AblationEffect
    from nodelens.scoring.scores import Scores

PERMUTATIONS = 499
LEVEL = 0.05

_FOLDS = 50
"""Delete-one jackknife up to so many nodes, beyond that delete-a-block with so many blocks."""
_NAMED = 3
"""Metrics that a sentence names at most."""


@frozen(eq=False)
class MetricComparison:
    """The best and the worst metric with a direction, among metrics that cover the most nodes.

    `gaps` holds, for every other metric with a direction, how far its Spearman is behind the best,
    over the groups where both are defined; NaN errors where nothing can be said. `chances` holds,
    for every metric that covers the most nodes, the fraction of permutations of the damages within
    groups in which any of these metrics does as well.
    """

    best: Prediction
    worst: Prediction
    correlation: Correlation
    gaps: Mapping[str, Estimate]
    chances: Mapping[str, float]

    @property
    def p(self) -> float:
        """The p-value of the best metric."""
        return self.chances[self.best.metric]

    @property
    def beats_chance(self) -> bool:
        """Whether the p-value and the interval of the best metric both speak against chance."""
        interval = self.correlation.interval()
        return self.p <= LEVEL and (interval is None or interval[0] > 0)

    @property
    def not_separable(self) -> tuple[str, ...]:
        """The metrics behind the best by at most two paired standard errors, the closest first."""
        names = [name for name, gap in self.gaps.items() if not gap.value > 2 * gap.se]
        return tuple(sorted(names, key=lambda name: np.nan_to_num(self.gaps[name].value, nan=9.0)))


@frozen(eq=False)
class _Group:
    """The importances by metric and the damages of one group, each ``(nodes,)``."""

    name: str
    change: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]


def compare(
    scores: Scores, damages: Sequence[AblationEffect], predictions: Sequence[Prediction], seed: int
) -> MetricComparison | None:
    """Return the comparison; None where no metric with a direction has a correlation."""
    known = [
        (each, each.spearman)
        for each in predictions
        if each.has_direction and each.spearman is not None
    ]
    if not known:
        return None
    groups = _groups(scores, damages, [each for each, _ in known])
    most = max(each.nodes for each, _ in known)
    rivals = [pair for pair in known if pair[0].nodes == most]
    best, correlation = max(rivals, key=lambda pair: pair[1].value)
    worst, _ = min(rivals, key=lambda pair: pair[1].value)
    others = [each.metric for each, _ in known if each is not best]
    return MetricComparison(
        best=best,
        worst=worst,
        correlation=correlation,
        gaps=_gaps(groups, best.metric, others, seed),
        chances=permutation_p(groups, [each.metric for each, _ in rivals], seed),
    )


def shortened(names: Sequence[str]) -> str:
    """Return up to three names as text, else the first two and the number of the others."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _groups(
    scores: Scores, damages: Sequence[AblationEffect], predictions: Sequence[Prediction]
) -> list[_Group]:
    found = []
    for damage in damages:
        columns = {
            each.metric: scores[each.metric, damage.group].importance()[damage.nodes]
            for each in predictions
            for part in each.groups
            if part.group == damage.group and part.spearman is not None
        }
        if columns:
            found.append(_Group(damage.group, damage.change, columns))
    return found


def _gaps(
    groups: Sequence[_Group], best: str, others: Sequence[str], seed: int
) -> dict[str, Estimate]:
    left_out = [(group, *_jackknife(group, seed)) for group in groups if best in group.columns]
    gaps = {}
    for other in others:
        parts = [
            (len(group.change), _difference(group, whole, without, best, other))
            for group, whole, without in left_out
            if other in group.columns
        ]
        gaps[other] = _mean(parts)
    return gaps


def _jackknife(group: _Group, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Spearman's correlations ``(metrics,)`` and ``(folds, metrics)`` without each fold."""
    columns = np.stack([group.change, *group.columns.values()])
    size = columns.shape[1]
    folds = np.array_split(random_order(size, seed, "jackknife", group.name), min(_FOLDS, size))
    without = [rank_correlations(list(np.delete(columns, fold, axis=1)))[0, 1:] for fold in folds]
    return rank_correlations(list(columns))[0, 1:], np.stack(without)


def _difference(
    group: _Group, whole: NDArray[np.float64], without: NDArray[np.float64], best: str, other: str
) -> Estimate:
    names = list(group.columns)
    a, b = names.index(best), names.index(other)
    steps = without[:, a] - without[:, b]
    count = len(steps)
    se = math.sqrt((count - 1) / count * float(((steps - steps.mean()) ** 2).sum()))
    return Estimate(float(whole[a] - whole[b]), se)


def _mean(parts: Sequence[tuple[int, Estimate]]) -> Estimate:
    """Return the mean over groups, weighted by nodes; too few nodes have no error."""
    nodes = sum(count for count, _ in parts)
    if not nodes:
        return Estimate.undefined()
    value = math.fsum(count / nodes * each.value for count, each in parts)
    se = math.hypot(*(count / nodes * each.se for count, each in parts))
    return Estimate(value, se if nodes >= FEWEST_NODES else math.nan)


def permutation_p(groups: Sequence[_Group], metrics: Sequence[str], seed: int) -> dict[str, float]:
    """Return the p-value of the pooled Spearman of each metric, ``(b + 1) / (m + 1)``.

    The damages are permuted within their groups, `b` of `m` times with a maximum over all metrics
    as large as the metric's own, so that choosing the best of many is accounted for.
    """
    total = np.zeros((len(metrics), PERMUTATIONS + 1))
    nodes = np.zeros(len(metrics))
    for group in groups:
        change = _unit_ranks(group.change)
        draws = np.stack([change, *change[_permutations(len(change), seed, group.name)]])
        for row, metric in enumerate(metrics):
            if metric in group.columns:
                total[row] += len(change) * (draws @ _unit_ranks(group.columns[metric]))
                nodes[row] += len(change)
    pooled = total / nodes[:, None]
    largest = pooled[:, 1:].max(axis=0)
    as_large = (largest >= pooled[:, :1] - 1e-12).sum(axis=1)
    return {
        metric: (int(count) + 1) / (PERMUTATIONS + 1)
        for metric, count in zip(metrics, as_large, strict=True)
    }


def _permutations(size: int, seed: int, group: str) -> NDArray[np.int64]:
    """Return ``(permutations, nodes)``."""
    random = generator(seed, "permutation", group)
    order: NDArray[np.int64] = (
        torch.rand(PERMUTATIONS, size, generator=random, dtype=torch.float64).argsort(dim=1).numpy()
    )
    return order


def _unit_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mid-ranks with mean 0 and length 1: their products are Spearman's correlations."""
    centred = rankdata(values) - (len(values) + 1) / 2
    unit: NDArray[np.float64] = centred / np.linalg.norm(centred)
    return unit
