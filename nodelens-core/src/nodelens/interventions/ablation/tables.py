"""Tables and plots of ablation curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nodelens.findings.finding import Cell, Line, LinePlot, Table
from nodelens.training.estimate import Estimate

if TYPE_CHECKING:
    from nodelens.interventions.ablation.compute import CaseCurves, Curve, First

_AREA_NOTE = (
    "Area: mean loss change along the curve (trapezoids over the fractions reached). "
    "Against random: area minus the mean area of the random orders; negative does less damage. "
    "Saving: (A_random - A) / A_random, 1 without a loss increase, 0 with that of random removal; "
    "empty where random removal does no damage beyond two standard errors. se: standard errors "
    "over samples, paired; for random they include the spread between the orders."
)
_POINT_NOTE = (
    "Loss change against the unablated model on the same samples, se of the paired "
    "difference. A fraction of a group is floor(fraction * width + 1/2) nodes; one is always kept."
)
_BAND = "Band: mean of the random orders ± two standard deviations between orders."
_NAMES: Mapping[First | None, str] = {
    "least": "least important first",
    "most": "most important first",
    None: "at random",
}


def area_table(found: Sequence[CaseCurves]) -> Table:
    """Return one row per curve: the area, the area against random, and the saving."""
    columns = (
        "nodes of",
        "metric",
        "order",
        "area",
        "area se",
        "against random",
        "against random se",
        "saving",
        "saving se",
    )
    rows = tuple(row for each in found for row in _area_rows(each))
    return Table("ablation_areas", "Area under the ablation curves", columns, rows, _AREA_NOTE)


def _area_rows(found: CaseCurves) -> Iterator[tuple[Cell, ...]]:
    for curve in found.curves:
        area, gap = curve.area(), found.against_random(curve)
        saving = found.saving(curve) or Estimate.undefined()
        estimates = (area, gap, saving)
        cells = [cell for each in estimates for cell in (each.finite(), each.finite_se())]
        yield found.case.name, curve.label, _NAMES[curve.first], *cells
    random = found.random_area()
    blank = (None,) * 4
    yield found.case.name, "random", _NAMES[None], random.finite(), random.finite_se(), *blank


def point_table(found: Sequence[CaseCurves]) -> Table:
    """Return one row per point of every curve; the random orders by their numbers."""
    columns = (
        "nodes of",
        "metric",
        "order",
        "fraction",
        "removed",
        "reached",
        "loss",
        "loss change",
        "se",
        "accuracy",
    )
    rows = tuple(
        row
        for each in found
        for number, curve in enumerate((*each.curves, *each.random), 1 - len(each.curves))
        for row in _point_rows(each.case.name, curve, number)
    )
    return Table("ablation_points", "All points of the curves", columns, rows, _POINT_NOTE)


def _point_rows(case: str, curve: Curve, number: int) -> Iterator[tuple[Cell, ...]]:
    label = curve.label if curve.first else f"random {number}"
    for point in curve.points:
        change = curve.change(point)
        yield (
            case,
            label,
            _NAMES[curve.first],
            point.fraction,
            point.removed,
            point.reached,
            point.evaluation.loss_estimate.finite(),
            change.finite(),
            change.finite_se(),
            point.evaluation.accuracy,
        )


def place_table(found: Sequence[CaseCurves]) -> Iterator[Table]:
    """Yield the table of the groups behind each set of curves, where there are several sets."""
    if len(found) > 1:
        rows = tuple(
            (
                each.case.name,
                ", ".join(group.name for group in each.case.groups),
                each.case.nodes,
                ", ".join(each.case.metrics),
            )
            for each in found
        )
        columns = ("nodes of", "groups", "nodes", "metrics")
        note = (
            "Metrics that score different groups are each compared with random removal from them."
        )
        yield Table("ablation_places", "Where nodes are ablated", columns, rows, note)


def left_out_table(left_out: Mapping[str, str]) -> Iterator[Table]:
    """Yield the table of left out metrics and groups with reasons, if there are any."""
    if left_out:
        rows = tuple(left_out.items())
        yield Table("ablation_left_out", "Left out of the ablation", ("what", "why"), rows)


def plots(found: CaseCurves, first: First) -> Iterator[LinePlot]:
    """Yield the plot of all curves of one order of removal with the random band."""
    case = found.case
    curves = [curve for curve in found.curves if curve.first == first]
    yield LinePlot(
        name=f"ablation_{first}_{case.name}",
        title=f"Loss as nodes are removed, {_NAMES[first]} ({case.name})",
        x_label="fraction of the nodes removed",
        y_label=f"loss in {found.random[0].dense.unit}",
        lines=(*(_line(curve) for curve in curves), _random_line(found)),
        note=_BAND,
    )


def _line(curve: Curve) -> Line:
    points = [(0.0, curve.dense.loss)]
    points += [(point.reached, point.evaluation.loss) for point in curve.points]
    finite = [point for point in points if math.isfinite(point[1])]
    return Line(curve.label, tuple(x for x, _ in finite), tuple(y for _, y in finite))


def _random_line(found: CaseCurves) -> Line:
    dense, points = found.random[0].dense.loss, found.random[0].points
    rows = [(0.0, dense, 0.0)]
    for at, point in enumerate(points):
        changes = found.random_changes(at)
        if np.isfinite(changes).all():
            spread = 2 * float(changes.std(ddof=1))
            rows.append((point.reached, dense + float(changes.mean()), spread))
    return Line(
        label="random",
        x=tuple(x for x, _, _ in rows),
        y=tuple(y for _, y, _ in rows),
        low=tuple(y - spread for _, y, spread in rows),
        high=tuple(y + spread for _, y, spread in rows),
        style="dotted",
    )
