"""The finding of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nodelens.findings.finding import Finding, Table
from nodelens.training.chance import Guesses, chance_warning
from nodelens.training.estimate import Estimate
from nodelens.training.references import DISTANCE

if TYPE_CHECKING:
    from nodelens.training.model_evaluation import ClassResult, EvaluationResult


def evaluation_finding(
    evaluation: EvaluationResult, name: str, classes: Sequence[str], guesses: Guesses | None = None
) -> Finding:
    """Return headline, table by class, numbers, and warnings of chance and losses not finite."""
    results = evaluation.per_class(classes)
    return Finding(
        kind="evaluation",
        name=name,
        title=f"Evaluation: {name}",
        headline=(_sentence(evaluation, name),),
        warnings=(*chance_warning(evaluation, guesses), *_warnings(evaluation)),
        tables=(_table(name, results),) if results else (),
        data=_data(evaluation, results),
    )


def _sentence(evaluation: EvaluationResult, name: str) -> str:
    loss = f"loss {evaluation.loss_estimate.text('.4f')} {evaluation.unit}"
    positions, rows = int(evaluation.counts.sum()), len(evaluation.losses)
    if evaluation.measured is not None:
        measures = "".join(
            f"{name} {each.text('.3f')}, " for name, each in evaluation.measures.items()
        )
        return f"{name}: {measures}{loss} per label on {positions} labels of {rows} rows"
    if evaluation.unit == DISTANCE:
        return (
            f"{name}: the model makes no predictions; its own outputs on {positions} positions of "
            f"{rows} rows are what changes are measured against, as {evaluation.unit}"
        )
    if evaluation.accuracy_estimate is None:
        perplexity = f"perplexity {evaluation.perplexity_estimate.text('.4g')}"
        return f"{name}: {perplexity}, {loss} per position on {positions} positions of {rows} rows"
    accuracy = evaluation.accuracy_estimate.percent()
    where = f"{positions} samples"
    if evaluation.targets is None:
        where = f"{positions} positions of {rows} rows"
    return f"{name}: accuracy {accuracy}, {loss} on {where}"


def _warnings(evaluation: EvaluationResult) -> tuple[str, ...]:
    bad = int((~np.isfinite(evaluation.losses)).sum())
    if not bad:
        return ()
    return (f"{bad} of {len(evaluation.losses)} rows have a loss that is not finite",)


def _table(name: str, results: Sequence[ClassResult]) -> Table:
    columns = ("class", "samples", "accuracy", "accuracy se", "loss", "loss se")
    rows = tuple(
        (result.name, result.count, *_numbers(result.loss, result.accuracy).values())
        for result in results
    )
    note = "Loss in nats; se is the standard error over the samples of the class."
    return Table(f"{name}_classes", f"{name}: by class", columns, rows, note)


def _data(evaluation: EvaluationResult, results: Sequence[ClassResult]) -> dict[str, Any]:
    accuracy = evaluation.accuracy_estimate or Estimate.undefined()
    return {
        "rows": len(evaluation.losses),
        "positions": int(evaluation.counts.sum()),
        "unit": evaluation.unit,
        **_numbers(evaluation.loss_estimate, accuracy),
        **_perplexity(evaluation),
        **_measures(evaluation),
        "classes": [
            {
                "name": result.name,
                "samples": result.count,
                **_numbers(result.loss, result.accuracy),
            }
            for result in results
        ],
    }


def _perplexity(evaluation: EvaluationResult) -> dict[str, float | None]:
    """Return the perplexity where rows have more than one label."""
    if not evaluation.words:
        return {}
    found = evaluation.perplexity_estimate
    return {"perplexity": found.finite(), "perplexity_se": found.finite_se()}


def _measures(evaluation: EvaluationResult) -> dict[str, dict[str, float | None]]:
    """Return what a loss of no classes reports in place of an accuracy."""
    found = evaluation.measures
    if not found:
        return {}
    values = {name: each.finite() for name, each in found.items()}
    return {"measures": values, "measures_se": {k: each.finite_se() for k, each in found.items()}}


def _numbers(loss: Estimate, accuracy: Estimate) -> dict[str, float | None]:
    return {
        "accuracy": accuracy.finite(),
        "accuracy_se": accuracy.finite_se(),
        "loss": loss.finite(),
        "loss_se": loss.finite_se(),
    }
