"""The single-node oracle as a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodelens.interventions.bench import maskable, open_bench
from nodelens.interventions.contract import InterventionRequest
from nodelens.interventions.damage import Damage, all_nodes, measure, sample_nodes
from nodelens.interventions.oracle import Oracle
from nodelens.interventions.oracle_tables import (
    damage_tables,
    group_table,
    prediction_plots,
    prediction_tables,
)
from nodelens.interventions.prediction import Prediction, predict
from nodelens.reports.parts import Finding
from nodelens.training.estimates import Estimate


def oracle(options: Oracle, request: InterventionRequest) -> Finding:
    """Measure the damage of single nodes and return it with what predicts it."""
    groups = maskable(request.graph)
    sampled = sample_nodes(groups, request.scores, options.nodes, request.seed)
    bench = open_bench(request, options.replace, groups)
    damages = measure(bench, sampled)
    predictions = predict(request.scores, damages, options.top, request.seed)
    best, worst = _extremes(predictions)
    return Finding(
        kind="intervention",
        name="oracle",
        title="Damage of single nodes",
        headline=tuple(_headline(damages, best)),
        warnings=tuple(_warnings(damages, best)),
        tables=(
            *prediction_tables(predictions, options.top),
            group_table(damages),
            *damage_tables(damages),
        ),
        plots=tuple(prediction_plots(predictions, damages, request.scores, best, worst)),
        data={
            "replace": options.replace,
            "loss": bench.dense.loss_estimate.finite(),
            "spearman": {each.metric: _pair(each.spearman) for each in predictions},
            "kendall": {each.metric: _pair(each.kendall) for each in predictions},
            "groups": [_group_data(damage) for damage in damages],
        },
    )


def _extremes(predictions: Sequence[Prediction]) -> tuple[Prediction | None, Prediction | None]:
    """Return the best and the worst metric with a direction, among those that cover most nodes."""
    known = [each for each in predictions if each.has_direction and each.spearman is not None]
    most = max((each.nodes for each in known), default=0)
    ranked = sorted((each for each in known if each.nodes == most), key=_rank)
    return (ranked[-1], ranked[0]) if ranked else (None, None)


def _rank(prediction: Prediction) -> float:
    return 0.0 if prediction.spearman is None else prediction.spearman.value


def _headline(damages: Sequence[Damage], best: Prediction | None) -> Iterator[str]:
    if best is not None and best.spearman is not None:
        correlation = best.spearman.text(".2f")
        yield f"{best.metric} predicts single-node damage best (Spearman {correlation})"
    rows = list(all_nodes(damages))
    if not rows:
        yield "no node can be taken away: no module reads any group"
        return
    for words, (group, node, change, se, _) in (
        ("most damaging", rows[0]),
        ("most removable", rows[-1]),
    ):
        sign = "+" if change >= 0 else ""
        yield f"{words}: node {node} of {group} ({sign}{Estimate(change, se).text('.4f')} nats)"
    resolved = sum(row[4] for row in rows)
    better = sum(row[4] and row[2] < 0 for row in rows)
    yield (
        f"{len(rows) - resolved} of {len(rows)} nodes are unresolved (under two standard errors); "
        f"taking away {better} improves the loss"
    )


def _warnings(damages: Sequence[Damage], best: Prediction | None) -> Iterator[str]:
    if best is not None and best.spearman is not None:
        value, se = best.spearman.value, best.spearman.se
        if value < 2 * se:
            yield "no metric predicts the damage of single nodes beyond two standard errors"
    for damage in damages:
        reliability = damage.reliability()
        if reliability is not None and reliability < 0.5:
            yield (
                f"{damage.group}: more than half of the spread between nodes is measurement noise; "
                "evaluate on more samples before comparing metrics there"
            )


def _group_data(damage: Damage) -> dict[str, object]:
    return {
        "name": damage.group,
        "nodes": damage.nodes.tolist(),
        "change": [Estimate(value, 0.0).finite() for value in damage.change.tolist()],
        "se": [Estimate(value, 0.0).finite() for value in damage.se.tolist()],
        "resolved": damage.resolved.tolist(),
        "reliability": damage.reliability(),
    }


def _pair(estimate: Estimate | None) -> list[float | None]:
    return [None, None] if estimate is None else [estimate.finite(), estimate.finite_se()]
