"""Tables and plots of the single-node oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nodelens.analyses.ranks import directed, rank_fractions
from nodelens.findings.finding import Bars, Cell, ScatterPlot, Series, Table
from nodelens.interventions.oracle.compute import AblationEffect, all_nodes
from nodelens.training.estimate import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.interventions.oracle.intervals import Correlation
    from nodelens.interventions.oracle.metric_comparison import MetricComparison
    from nodelens.interventions.oracle.prediction import GroupPrediction, Prediction
    from nodelens.scoring.scores import Scores

_SHOWN = 10
_DAMAGE_NOTE = (
    "Loss change of ablating this node alone, se of the paired difference over samples; "
    "unresolved: under two standard errors."
)
_MEASURES = (
    *("spearman", "low", "high", "kendall", "kendall low", "kendall high"),
    *("spearman |damage|", "|damage| low", "|damage| high", "top overlap"),
)
_COLUMNS = ("group", "node", "loss change", "se", "resolved")


def prediction_tables(
    predictions: Sequence[Prediction], found: MetricComparison | None, top: float, equal: str = ""
) -> Iterator[Table]:
    """Yield the correlations, pooled and by group; nothing without metrics."""
    if not predictions:
        return
    note = (
        "Correlations of importance with the measured loss change over all measured nodes, within "
        "groups; pooled: averaged over the groups where they are defined, weighted by nodes. low "
        "and high: 95 % intervals over nodes (Fisher's z), empty for fewer than ten nodes. Behind "
        "the best: its Spearman minus this one's, where both are defined, with the paired "
        "jackknife error; under two errors they cannot be separated. Top overlap: common "
        f"nodes of the top {100 * top:g} % by metric and by damage, 0 by chance, 1 for the same. "
        "|damage|: Spearman with the size of the loss change, for metrics that are nowhere "
        "negative. p: permutations of the damages within groups in which any metric of as many "
        "nodes does as well. "
        "(raw): the metric has no direction, its values are compared." + equal
    )
    columns = ("metric", *_MEASURES, "nodes", "behind the best", "behind se", "p")
    rows = tuple(
        (
            each.metric,
            *_measures(each),
            each.nodes,
            *_gap(each.metric, found),
            None if found is None else found.chances.get(each.metric),
        )
        for each in predictions
    )
    yield Table("oracle_prediction", "Which metric predicts the damage", columns, rows, note)
    by_group = tuple(_group_row(each.metric, part) for each in predictions for part in each.groups)
    names = ("metric", "group", *_MEASURES, "nodes", "note")
    yield Table("oracle_by_group", "Prediction within each group", names, by_group, note)


def _group_row(metric: str, part: GroupPrediction) -> tuple[Cell, ...]:
    return (metric, part.group, *_measures(part), part.nodes, part.note)


def _measures(found: Prediction | GroupPrediction) -> tuple[Cell, ...]:
    correlations = (found.spearman, found.kendall, found.size)
    return (*(cell for each in correlations for cell in _interval(each)), found.overlap)


def _interval(correlation: Correlation | None) -> tuple[float | None, ...]:
    if correlation is None:
        return None, None, None
    return correlation.value, *(correlation.interval() or (None, None))


def _gap(metric: str, found: MetricComparison | None) -> tuple[float | None, float | None]:
    gap = None if found is None else found.gaps.get(metric)
    return (None, None) if gap is None else (gap.finite(), gap.finite_se())


def group_table(damages: Sequence[AblationEffect]) -> Table:
    """Return one row per group: how many nodes were measured, unresolved and improving."""
    columns = ("group", "measured", "unresolved", "improving", "mean change", "reliability")
    rows = tuple(
        (
            damage.group,
            len(damage.nodes),
            int((~damage.resolved).sum()),
            int((damage.resolved & (damage.change < 0)).sum()),
            Estimate(float(damage.change.mean()), 0.0).finite(),
            damage.reliability(),
        )
        for damage in damages
    )
    note = (
        "Improving: the loss falls by at least two standard errors. Reliability: fraction of the "
        "variance between nodes that is not sampling noise (errors that all nodes share on the "
        "same samples do not count, as they cannot reorder nodes); its square root is about the "
        "highest correlation that any score can reach."
    )
    return Table("oracle_groups", "Damage by group", columns, rows, note)


def damage_tables(damages: Sequence[AblationEffect]) -> Iterator[Table]:
    """Yield the most damaging and the most removable nodes, and all of them."""
    rows = [
        (group, node, Estimate(change, se).finite(), Estimate(change, se).finite_se(), resolved)
        for group, node, change, se, resolved in all_nodes(damages)
    ]
    most, least = tuple(rows[:_SHOWN]), tuple(rows[::-1][:_SHOWN])
    yield Table("most_damaging", "The most damaging nodes", _COLUMNS, most, _DAMAGE_NOTE)
    yield Table("most_removable", "The most removable nodes", _COLUMNS, least, _DAMAGE_NOTE)
    yield Table("damage", "The damage of every measured node", _COLUMNS, tuple(rows), _DAMAGE_NOTE)


def prediction_plots(
    predictions: Sequence[Prediction],
    found: MetricComparison | None,
    damages: Sequence[AblationEffect],
    scores: Scores,
) -> Iterator[Bars | ScatterPlot]:
    """Yield the correlations as bars, and the damage against the best and the worst metric."""
    known = [(each.metric, each.spearman) for each in predictions if each.spearman is not None]
    known.sort(key=lambda pair: -pair[1].value)
    ends = [correlation.interval() or (None, None) for _, correlation in known]
    if known:
        yield Bars(
            name="oracle_spearman",
            title="Rank correlation with single-node damage",
            y_label="Spearman within groups",
            labels=tuple(metric for metric, _ in known),
            values=tuple(correlation.value for _, correlation in known),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
            note="Lines: 95 % intervals over nodes, none for fewer than ten nodes.",
        )
    if found is not None:
        yield _scatter("best", found.best.metric, damages, scores, found.beats_chance)
        if found.worst is not found.best:
            yield _scatter("worst", found.worst.metric, damages, scores, found.beats_chance)


def _scatter(
    words: str, metric: str, damages: Sequence[AblationEffect], scores: Scores, told: bool
) -> ScatterPlot:
    title = f"Damage against {metric}, the {words} predictor"
    series = []
    for damage in damages:
        if (metric, damage.group) in scores:
            ranks = rank_fractions(directed(scores[metric, damage.group])[damage.nodes])
            finite = np.isfinite(damage.change)
            series.append(
                Series(
                    damage.group,
                    tuple(ranks[finite].tolist()),
                    tuple(damage.change[finite].tolist()),
                    _errors(damage.se[finite]),
                )
            )
    return ScatterPlot(
        name=f"oracle_{words}",
        title=title if told else f"Damage against {metric}, {words} by chance",
        x_label="importance rank within the group (1 is highest)",
        y_label="loss change",
        series=tuple(series),
        note="One point per node; standard errors of paired differences over samples.",
    )


def _errors(se: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the errors to draw: those of the table, or none where one is unknown."""
    return tuple(se.tolist()) if np.isfinite(se).all() else ()
