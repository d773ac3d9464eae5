"""The single-node oracle as a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nodelens.analyses.ranks import counted_once, equality_note
from nodelens.findings.finding import Finding
from nodelens.interventions.ablator import maskable, open_ablator
from nodelens.interventions.oracle.compute import AblationEffect, all_nodes, measure, sample_nodes
from nodelens.interventions.oracle.metric_comparison import (
    PERMUTATIONS,
    MetricComparison,
    compare,
    shortened,
)
from nodelens.interventions.oracle.prediction import predict
from nodelens.interventions.oracle.tables import (
    damage_tables,
    group_table,
    prediction_plots,
    prediction_tables,
)
from nodelens.training.estimate import Estimate

if TYPE_CHECKING:
    from nodelens.interfaces.intervention import InterventionRequest
    from nodelens.interventions.oracle.intervals import Correlation
    from nodelens.interventions.oracle.options import Oracle
    from nodelens.training.model_evaluation import EvaluationResult


def oracle(options: Oracle, request: InterventionRequest) -> Finding:
    """Return the damage of single nodes, and how well each metric predicts the damage."""
    groups = maskable(request.graph, options.groups)
    scores, equal = counted_once(request.scores)
    sampled = sample_nodes(groups, scores, options.nodes, request.seed)
    ablator = open_ablator(request, options.replace, groups)
    damages = measure(ablator, sampled)
    predictions = predict(scores, damages, options.top)
    found = compare(scores, damages, predictions, request.seed)
    return Finding(
        kind="intervention",
        name="oracle",
        title="Damage of single nodes",
        headline=tuple(_headline(damages, found, ablator.dense)),
        warnings=tuple(_warnings(damages, found)),
        tables=(
            *prediction_tables(predictions, found, options.top, equality_note(equal)),
            group_table(damages),
            *damage_tables(damages),
        ),
        plots=tuple(prediction_plots(predictions, found, damages, scores)),
        data={
            "replace": options.replace,
            "loss": ablator.dense.loss_estimate.finite(),
            "spearman": {each.metric: _triple(each.spearman) for each in predictions},
            "kendall": {each.metric: _triple(each.kendall) for each in predictions},
            "spearman_size": {each.metric: _triple(each.size) for each in predictions},
            "best": _best_data(found),
            "equal": [list(names) for names in equal],
            "groups": [_group_data(damage) for damage in damages],
        },
    )


def _headline(
    damages: Sequence[AblationEffect], found: MetricComparison | None, dense: EvaluationResult
) -> Iterator[str]:
    if found is not None:
        yield _best_sentence(found)
    rows = list(all_nodes(damages))
    if not rows:
        yield "no node can be ablated: no module reads any group"
        return
    for words, (group, node, change, se, _) in (
        ("most damaging", rows[0]),
        ("most removable", rows[-1]),
    ):
        sign = "+" if change >= 0 else ""
        said = Estimate(change, se).text(dense.form(".4f"))
        yield f"{words}: node {node} of {group} ({sign}{said} {dense.unit})"
    unresolved = sum(not row[4] for row in rows)
    yield f"{unresolved} of {len(rows)} nodes are unresolved (under two standard errors)"
    better = sum(row[4] and row[2] < 0 for row in rows)
    if better:
        nodes = "1 node improves" if better == 1 else f"{better} nodes each improve"
        yield f"{nodes} the loss when removed, by at least two standard errors"


def _best_sentence(found: MetricComparison) -> str:
    """Return the best metric, or that none is better than chance: a winner has to beat it."""
    if not found.beats_chance:
        return f"no metric predicts single-node damage better than chance (p = {found.p:.2g})"
    text = (
        f"{found.best.metric} predicts single-node damage best "
        f"(Spearman {found.correlation.text()}; permutation p = {found.p:.2g})"
    )
    equals = found.not_separable
    return text + (f"; not separable from {shortened(equals)}" if equals else "")


def _warnings(damages: Sequence[AblationEffect], found: MetricComparison | None) -> Iterator[str]:
    if found is not None and not found.beats_chance:
        yield (
            "no metric predicts the damage of single nodes better than chance: with the damages "
            f"permuted within groups, the best metric does as well with p = {found.p:.2g}"
        )
    for damage in damages:
        reliability = damage.reliability()
        if reliability is not None and reliability < 0.5:
            yield (
                f"{damage.group}: more than half of the spread between nodes is measurement noise; "
                "evaluate on more samples before comparing metrics there"
            )


def _group_data(damage: AblationEffect) -> dict[str, object]:
    return {
        "name": damage.group,
        "nodes": damage.nodes.tolist(),
        "change": [Estimate(value, 0.0).finite() for value in damage.change.tolist()],
        "se": [Estimate(value, 0.0).finite() for value in damage.se.tolist()],
        "resolved": damage.resolved.tolist(),
        "reliability": damage.reliability(),
    }


def _best_data(found: MetricComparison | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "metric": found.best.metric,
        "p": found.p,
        "beats_chance": found.beats_chance,
        "permutations": PERMUTATIONS,
        "not_separable": list(found.not_separable),
    }


def _triple(correlation: Correlation | None) -> list[float | None]:
    """Return the value and the ends of its interval."""
    if correlation is None:
        return [None, None, None]
    return [correlation.value, *(correlation.interval() or (None, None))]
