"""The effect of a recovery on a pruned model, as sentences, tables, a curve and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nodelens.findings.finding import Cell, Finding, Line, LinePlot, Table
from nodelens.training.paired_evaluation import PairedEvaluation, signed

if TYPE_CHECKING:
    from nodelens.interfaces.recovery import RecoveryStep
    from nodelens.recovery.recovery_training import RecoveryTraining
    from nodelens.training.estimate import Estimate
    from nodelens.training.model_evaluation import EvaluationResult

_POINTS = 60
"""The largest number of points of a curve; more steps are averaged in parts."""

_RESOLVED = 2.0
"""The number of standard errors from zero from which a change counts as one."""


_SCALED = " The divergence is times the square of the temperature."


def recovered_finding(method: str, label: str, found: RecoveryTraining) -> Finding:
    """Return the effect of the recovery `label` on the model that `method` has pruned."""
    name = f"{method}.{label}"
    change = PairedEvaluation(found.pruned, found.after).loss_change
    return Finding(
        kind="recovery",
        name=name,
        title=f"Recovery: {method}, {label}",
        headline=tuple(_sentences(method, label, found, change)),
        warnings=tuple(_warnings(change, found.dense.unit)),
        tables=(_table(name, found),),
        plots=(_plot(found),),
        data=_data(method, label, found, change),
    )


def refused_finding(method: str, label: str, reason: str) -> Finding:
    """Return the finding of a model that could not be trained, with the reason."""
    return Finding(
        kind="recovery",
        name=f"{method}.{label}",
        title=f"Recovery: {method}, {label}",
        headline=(f"the model that {method} pruned was not trained: {reason}",),
        warnings=(f"not done: {reason}",),
        data={"method": method, "recovery": label, "refused": reason},
    )


def _sentences(method: str, label: str, found: RecoveryTraining, change: Estimate) -> Iterator[str]:
    count = len(found.recovered.steps)
    steps = f"{method}, then {count} step{'s' * (count != 1)} of {label}"
    measure, form, read = _measure(found)
    dense, pruned, after = (read(each).text(form) for each in _evaluations(found).values())
    loss = f"loss {signed(change, '.4f')} {found.dense.unit}"
    yield f"{steps}: {loss}, {measure} {pruned} → {after} (dense {dense})"
    added = PairedEvaluation(found.dense, found.pruned).loss_change
    if added.value > _RESOLVED * added.se and change.value < 0:
        yield _undone(added, -change.value, found.dense.unit)


def _undone(added: Estimate, back: float, unit: str) -> str:
    """Return a sentence on how much of the loss increase of pruning is undone."""
    whole = f"the {added.text('.4f')} {unit} that pruning has added"
    if back > added.value:
        return f"{whole} are undone, and {back - added.value:.4f} more"
    return f"of {whole}, {100 * back / added.value:.0f} % are undone"


def _warnings(change: Estimate, unit: str) -> Iterator[str]:
    if change.value > _RESOLVED * change.se:
        yield (
            f"the loss on the test samples has risen by {change.text('.4f')} {unit}; lower the "
            "learning_rate, or take fewer steps"
        )


def _evaluations(found: RecoveryTraining) -> dict[str, EvaluationResult]:
    return {"dense": found.dense, "pruned": found.pruned, "recovered": found.after}


def _measure(found: RecoveryTraining) -> tuple[str, str, Callable[[EvaluationResult], Estimate]]:
    """Return the name of the main measure, its number format, and a function that returns it."""
    name = next(iter(found.dense.reported), "loss")
    form = ".3f" if name == "accuracy" else ".4g"
    return name, form, lambda each: each.reported.get(name, each.loss_estimate)


def _table(name: str, found: RecoveryTraining) -> Table:
    measure, _, read = _measure(found)
    rows: list[tuple[Cell, ...]] = []
    for model, evaluation in _evaluations(found).items():
        loss, second = evaluation.loss_estimate, read(evaluation)
        apart = PairedEvaluation(found.dense, evaluation).loss_change
        against = (None, None) if model == "dense" else (apart.finite(), apart.finite_se())
        rows.append(
            (
                model,
                loss.finite(),
                loss.finite_se(),
                second.finite(),
                second.finite_se(),
                *against,
            )
        )
    return Table(
        f"{name}_result",
        "Before and after",
        ("model", "loss", "loss se", measure, f"{measure} se", "loss - dense", "loss - dense se"),
        tuple(rows),
        f"On the test samples; losses in {found.dense.unit}. The last column is paired by sample.",
    )


def _plot(found: RecoveryTraining) -> LinePlot:
    steps = found.recovered.steps
    lines = list(_curves(steps))
    for model, evaluation in list(_evaluations(found).items())[:2]:
        level = evaluation.loss_estimate.finite()
        if level is not None:
            ends = (1.0, float(len(steps)))
            lines.append(Line(f"{model}, test", ends, (level, level), style="dotted"))
    size = _part(len(steps))
    many = f"Each point is the mean of {size} steps. " if size > 1 else ""
    return LinePlot(
        name="loss",
        title="Loss during recovery",
        x_label="step",
        y_label=f"loss in {found.dense.unit}",
        lines=tuple(lines),
        note=f"{many}Losses of batches before each step; dotted: loss on the test samples."
        + (_SCALED if steps[0].divergence is not None else ""),
        log_y=True,
    )


def _curves(steps: Sequence[RecoveryStep]) -> Iterator[Line]:
    curves = {
        "labels": [step.labels for step in steps],
        "divergence from dense": [step.divergence for step in steps],
    }
    size = _part(len(steps))
    for label, values in curves.items():
        known = [value for value in values if value is not None]
        parts = [known[start : start + size] for start in range(0, len(known), size)]
        middles = tuple(start * size + (len(part) + 1) / 2 for start, part in enumerate(parts))
        if parts:
            yield Line(label, middles, tuple(sum(part) / len(part) for part in parts))


def _part(steps: int) -> int:
    """Return the number of steps behind one point of the curve."""
    return -(-steps // _POINTS)


def _data(method: str, label: str, found: RecoveryTraining, change: Estimate) -> dict[str, Any]:
    measure, _, read = _measure(found)
    evaluations, recovered = _evaluations(found).values(), found.recovered
    return {
        "method": method,
        "recovery": label,
        "loss": [each.loss_estimate.finite() for each in evaluations],
        "loss_se": [each.loss_estimate.finite_se() for each in evaluations],
        measure: [read(each).finite() for each in evaluations],
        f"{measure}_se": [read(each).finite_se() for each in evaluations],
        "loss_change": [change.finite(), change.finite_se()],
        "weights": recovered.weights,
        "samples": recovered.samples,
        "batch_size": recovered.batch_size,
        "steps": {
            name: [getattr(step, name) for step in recovered.steps]
            for name in ("loss", "labels", "divergence", "learning_rate")
        },
    }
