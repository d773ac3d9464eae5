"""Ablation curves as a finding: areas, warnings, tables and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nodelens.findings.finding import Finding
from nodelens.interventions.ablation.cases import choose_cases
from nodelens.interventions.ablation.compute import CaseCurves, Curve, First, case_curves
from nodelens.interventions.ablation.tables import (
    area_table,
    left_out_table,
    place_table,
    plots,
    point_table,
)
from nodelens.interventions.ablator import open_ablator
from nodelens.interventions.oracle.metric_comparison import shortened
from nodelens.training.estimate import Estimate, ratio

if TYPE_CHECKING:
    from nodelens.interfaces.intervention import InterventionRequest
    from nodelens.interventions.ablation.options import Ablation


def ablation(options: Ablation, request: InterventionRequest) -> Finding:
    """Return all ablation curves, with their areas against random removal."""
    chosen = choose_cases(
        request, options.scope, options.metrics, options.fractions, options.groups
    )
    groups = [group for case in chosen.cases for group in case.groups]
    ablator = open_ablator(request, options.replace, groups)
    firsts: tuple[First, ...] = ("least", "most") if options.order == "both" else (options.order,)
    found = [
        case_curves(ablator, case, options.fractions, firsts, options.random)
        for case in chosen.cases
    ]
    tables = [area_table(found), point_table(found)] if found else []
    return Finding(
        kind="intervention",
        name="ablation",
        title="Ablation curves",
        headline=tuple(_headline(found, firsts[0])),
        warnings=tuple(warning for each in found for warning in _warnings(each)),
        tables=(*tables, *place_table(found), *left_out_table(chosen.left_out)),
        plots=tuple(plot for each in found for first in firsts for plot in plots(each, first)),
        data={
            "replace": options.replace,
            "scope": options.scope,
            "loss": ablator.dense.loss_estimate.finite(),
            "left_out": chosen.left_out,
            "cases": [_data(each) for each in found],
        },
    )


def _headline(found: Sequence[CaseCurves], first: First) -> Iterator[str]:
    """Yield the metric with the smallest area in the largest case, and how often each is best."""
    ranked = [each for each in found if each.case.metrics]
    if not ranked:
        yield (
            "no metric with a direction to order the nodes by: random removal only"
            if found
            else "no group can be ablated"
        )
        return
    largest = max(ranked, key=lambda each: (each.case.nodes, len(each.case.metrics)))
    yield _sentence(largest, first)
    if len(ranked) > 1:
        wins = Counter(best.label for each in ranked if (best := _best(each, first)) is not None)
        for name, count in wins.most_common(1):
            if count > 1:
                yield f"best most often: {name}, in {count} of {len(ranked)} places"


def _best(found: CaseCurves, first: First) -> Curve | None:
    """Return the best of the curves that beat random removal; None where none does."""
    curves = [each for each in found.curves if each.first == first and found.beats_random(each)]
    sign = 1 if first == "least" else -1
    return min(curves, key=lambda curve: sign * curve.area().value, default=None)


def _sentence(found: CaseCurves, first: First) -> str:
    best = _best(found, first)
    if best is None:
        return _no_winner(found, first)
    reached = best.points[-1].reached
    praise = "removes most safely" if first == "least" else "finds the nodes that matter best"
    form, unit = best.dense.form(".3f"), best.dense.unit
    text = (
        f"{best.label} {praise} ({found.case.name}): {first}-important-first up to "
        f"{100 * reached:.0f} % of the nodes adds {best.area().text(form)} {unit} on average, "
        f"random order {found.random_area().text(form)}"
    )
    equals = _not_separable(found, best)
    return text + (f"; not separable from {shortened(equals)}" if equals else "")


def _no_winner(found: CaseCurves, first: First) -> str:
    """Return that no metric is better than random, which the table tests by two errors."""
    praise = "removes more safely" if first == "least" else "finds the nodes that matter better"
    unit, form = found.random[0].dense.unit, found.random[0].dense.form(".3f")
    return (
        f"no metric {praise} than random order by two standard errors ({found.case.name}); "
        f"random order adds {found.random_area().text(form)} {unit} on average"
    )


def _not_separable(found: CaseCurves, best: Curve) -> list[str]:
    """Return the metrics whose area is within two paired standard errors of the best one's."""
    rows = best.row_areas()
    names = []
    for curve in found.curves:
        if curve.first == best.first and curve is not best:
            gap = ratio(curve.row_areas() - rows, curve.dense.counts)
            if not abs(gap.value) > 2 * gap.se:
                names.append(curve.label)
    return names


def _warnings(found: CaseCurves) -> Iterator[str]:
    for curve in found.curves:
        gap = found.against_random(curve)
        where = f"{found.case.name}: {curve.label}, {curve.first} important first,"
        by = f"({gap.text(curve.dense.form('.3f'))} {curve.dense.unit} against random)"
        if curve.first == "least" and gap.value > 2 * gap.se:
            yield f"{where} does more damage than random removal {by}"
        if curve.first == "most" and gap.value < -2 * gap.se:
            yield f"{where} does less damage than random removal {by}"
    for curve in (*found.curves, *found.random):
        if not np.isfinite(curve.row_areas()).all():
            yield f"{found.case.name}: {curve.label} reaches losses that are not finite"


def _data(found: CaseCurves) -> dict[str, object]:
    return {
        "name": found.case.name,
        "groups": [group.name for group in found.case.groups],
        "nodes": found.case.nodes,
        "random": [_curve_data(curve) for curve in found.random],
        "random_area": _pair(found.random_area()),
        "curves": [
            {
                **_curve_data(curve),
                "against_random": _pair(found.against_random(curve)),
                "saving": _pair(found.saving(curve) or Estimate.undefined()),
            }
            for curve in found.curves
        ],
    }


def _curve_data(curve: Curve) -> dict[str, object]:
    changes = [curve.change(point) for point in curve.points]
    return {
        "metric": curve.label,
        "first": curve.first,
        "removed": [point.removed for point in curve.points],
        "reached": [point.reached for point in curve.points],
        "loss": [point.evaluation.loss_estimate.finite() for point in curve.points],
        "change": [change.finite() for change in changes],
        "change_se": [change.finite_se() for change in changes],
        "accuracy": [point.evaluation.accuracy for point in curve.points],
        "area": _pair(curve.area()),
    }


def _pair(estimate: Estimate) -> list[float | None]:
    return [estimate.finite(), estimate.finite_se()]
