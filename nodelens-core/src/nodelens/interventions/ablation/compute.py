"""Ablation curves: the loss as more and more nodes are ablated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.channels.groups import ChannelGroup
from nodelens.interventions.ablation_order import random_order, removal_order, removed_count
from nodelens.training.estimate import Estimate, ratio
from nodelens.training.model_evaluation import EvaluationResult, paired

if TYPE_CHECKING:
    from nodelens.interventions.ablator import Ablator
    from nodelens.scoring.scores import Scores

First = Literal["least", "most"]
Orders = Mapping[str, NDArray[np.int64]]


@frozen
class Case:
    """Groups whose nodes are ablated together, and the metrics that score all these groups."""

    name: str
    groups: tuple[ChannelGroup, ...]
    metrics: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """The number of nodes of all groups."""
        return sum(group.width for group in self.groups)


@frozen(eq=False)
class Point:
    """One evaluation, with the fraction requested, the nodes removed and the fraction reached."""

    fraction: float
    removed: int
    reached: float
    evaluation: EvaluationResult


@frozen(eq=False)
class Curve:
    """The points of one order of removal; `label` is the metric, `first` which nodes go first."""

    label: str
    first: First | None
    dense: EvaluationResult
    points: tuple[Point, ...]

    def change(self, point: Point) -> Estimate:
        """Return the paired loss change at one point in nats, with its standard error."""
        return Estimate(*paired(point.evaluation, self.dense))

    def row_areas(self) -> NDArray[np.float64]:
        """Return the area under the loss change of every sample, ``(rows,)``, in nats.

        By the trapezoid rule over the fractions reached, from 0, where the change is 0; divided by
        the largest fraction, so that it is the mean loss change along the curve.
        """
        reached = np.array([0.0, *(point.reached for point in self.points)])
        with np.errstate(invalid="ignore"):  # infinite losses: the area is not finite either
            rows = [point.evaluation.losses - self.dense.losses for point in self.points]
            changes = np.stack([np.zeros(len(self.dense.losses)), *rows])
            area: NDArray[np.float64] = np.trapezoid(changes, reached, axis=0) / reached[-1]
        return area

    def area(self) -> Estimate:
        """Return the mean of `row_areas` per position, with its standard error."""
        return ratio(self.row_areas(), self.dense.counts)


@frozen(eq=False)
class CaseCurves:
    """All curves of one case: by metric and order, and the random ones."""

    case: Case
    curves: tuple[Curve, ...]
    random: tuple[Curve, ...]

    def random_area(self) -> Estimate:
        """Return the mean area of the random orders, with the error of samples and of orders."""
        mean = ratio(self._random_rows(), self.random[0].dense.counts)
        return Estimate(mean.value, math.hypot(mean.se, self._order_error()))

    def against_random(self, curve: Curve) -> Estimate:
        """Return the area of a curve minus the mean random area: negative does less damage."""
        rows = curve.row_areas() - self._random_rows()
        gap = ratio(rows, curve.dense.counts)
        return Estimate(gap.value, math.hypot(gap.se, self._order_error()))

    def beats_random(self, curve: Curve) -> bool:
        """Whether a curve differs from random removal as it should, by two standard errors."""
        gap = self.against_random(curve)
        better = -gap.value if curve.first == "least" else gap.value
        return better > 2 * gap.se

    def saving(self, curve: Curve) -> Estimate | None:
        """Return ``(A_random - A) / A_random``, the fraction of the random damage that is avoided.

        1 means no loss increase, 0 the loss increase of random removal. None where random removal
        has no resolved damage. The standard error is by linearisation.
        """
        random = self.random_area()
        if not random.value > 2 * random.se:
            return None
        fraction = curve.area().value / random.value
        rows = (curve.row_areas() - fraction * self._random_rows()) / random.value
        sampling = ratio(rows, curve.dense.counts).se
        return Estimate(
            1 - fraction, math.hypot(sampling, fraction * self._order_error() / random.value)
        )

    def random_changes(self, at: int) -> NDArray[np.float64]:
        """Return the loss change of every random order at one point, ``(orders,)``."""
        return np.array([curve.change(curve.points[at]).value for curve in self.random])

    def _random_rows(self) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = np.mean([curve.row_areas() for curve in self.random], axis=0)
        return rows

    def _order_error(self) -> float:
        areas = [curve.area().value for curve in self.random]
        return float(np.std(areas, ddof=1) / math.sqrt(len(areas)))


def case_curves(
    ablator: Ablator, case: Case, fractions: Sequence[float], firsts: Sequence[First], orders: int
) -> CaseCurves:
    """Return the curve of every metric and order of removal, and of `orders` random orders."""
    seed = ablator.request.seed
    total = len(case.metrics) * len(firsts) + orders
    curves: list[Curve] = []
    for metric, ranking in _rankings(case, ablator.request.scores, seed):
        for first in firsts:
            ablator.request.progress(f"ablation of {case.name}", len(curves), total)
            curves.append(_curve(ablator, case, fractions, ranking, metric, first))
    random = []
    for number in range(orders):
        ablator.request.progress(f"ablation of {case.name}", len(curves) + number, total)
        shuffled = {
            group.name: random_order(group.width, seed, "ablation", number, group.name)
            for group in case.groups
        }
        random.append(_curve(ablator, case, fractions, shuffled, "random", None))
    ablator.request.progress(f"ablation of {case.name}", total, total)
    return CaseCurves(case, tuple(curves), tuple(random))


def _rankings(case: Case, scores: Scores, seed: int) -> Iterator[tuple[str, Orders]]:
    for metric in case.metrics:
        yield (
            metric,
            {
                group.name: removal_order(
                    scores[metric, group.name].importance(), seed, metric, group.name
                )
                for group in case.groups
            },
        )


def _curve(
    ablator: Ablator,
    case: Case,
    fractions: Sequence[float],
    orders: Orders,
    label: str,
    first: First | None,
) -> Curve:
    if first == "most":
        orders = {name: order[::-1] for name, order in orders.items()}
    points = []
    for fraction in sorted(set(fractions)):
        removed = {
            group.name: orders[group.name][: removed_count(group.width, fraction)]
            for group in case.groups
        }
        count = sum(len(nodes) for nodes in removed.values())
        evaluation = ablator.evaluate_without(removed)
        points.append(Point(fraction, count, count / case.nodes, evaluation))
    return Curve(label, first, ablator.dense, tuple(points))
