"""The stopping rule of a run: its checks, its state on resuming, and its finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodelens.config.converter import converter
from nodelens.config.rankings import unfit_to_stop
from nodelens.config.stored_values import restored
from nodelens.errors import ConfigError
from nodelens.findings.finding import Finding, Line, LinePlot, Table
from nodelens.interfaces.metric import dependencies_of
from nodelens.scoring.scorer import ScoreRequest
from nodelens.scoring.stopping import Look, StoppingRule

if TYPE_CHECKING:
    from nodelens.capture.plan.budgeted_plan import Planned
    from nodelens.capture.result import Capture
    from nodelens.config.schema import StoppingSettings
    from nodelens.experiments.setup import StudyInputs
    from nodelens.storage.run_folder import RunFolder

CURVE = "capture/convergence.json"
"""The file with all looks of the rule so far, for a run that is resumed."""

_NOTE = (
    "The overlap of the top nodes of two halves of the samples, as a mean over splits of the folds "
    "into halves; the band is from the smallest to the largest. Each half has half of the samples, "
    "so that the top of all of them is more stable than this."
)


def check_rule(
    settings: StoppingSettings, planned: Planned, where: str = "capture.stop_when"
) -> None:
    """Raise `ConfigError` when the stopping rule cannot be judged in the first pass."""
    reason = _objection(settings, planned)
    if reason:
        raise ConfigError([f"{where}: {reason}"])


def _objection(settings: StoppingSettings, planned: Planned) -> str:
    name, plan = settings.metric, planned.plan
    if name in planned.left_out:
        return f"{name!r} is left out: {planned.left_out[name]}; name another metric"
    metric = planned.metrics[name]
    statistics = _statistics(name, planned)
    if why := unfit_to_stop(settings, metric):
        return why
    if not statistics:
        return f"{name!r} reads no data, so that it is stable from the start; name another metric"
    if any(statistic in plan.visits for statistic in statistics):
        return f"{name!r} needs passes of its own, after the one that would stop; name another"
    if len(plan.streams) > 1:
        return (
            f"the memory budget divides the nodes over {len(plan.streams)} passes, and the rule "
            "reads all of them at once; raise capture.memory_budget"
        )
    if min(plan.folds_of(statistic) for statistic in statistics) < 2:
        return f"{name!r} has one fold in this memory; raise capture.memory_budget"
    return ""


def _statistics(name: str, planned: Planned) -> list[Any]:
    """Return the statistics of a metric and of all its dependencies."""
    metric = planned.metrics[name]
    return [
        *metric.statistics,
        *(s for part in dependencies_of(metric) for s in _statistics(part, planned)),
    ]


def stopping_rule(
    settings: StoppingSettings, study: StudyInputs, planned: Planned, run: RunFolder
) -> StoppingRule:
    """Return the stopping rule, which writes its looks to the run folder."""

    def request(capture: Capture) -> ScoreRequest:
        return ScoreRequest(study.handle.module, study.graph, planned.metrics, capture)

    def keep(looks: list[Look]) -> None:
        run.write_json(CURVE, converter().unstructure(looks))

    return StoppingRule(request, settings.metric, settings.top, settings.min_overlap, keep=keep)


def recalled(run: RunFolder, samples: int) -> list[Look]:
    """Return the looks of an interrupted capture's rule up to a number of samples."""
    known = run.read_json(CURVE) if run.has(CURVE) else []
    looks: list[Look] = restored(list[Look], known, str(run.file(CURVE)))
    return [look for look in looks if look.samples <= samples]


def _row(look: Look) -> tuple[int, float, float, float]:
    return look.samples, look.overlap.mean, look.overlap.low, look.overlap.high


def convergence_finding(rule: StoppingRule, samples: int, available: int) -> Finding:
    """Return the number of samples that the ranking took, with the curve of its stability."""
    rows = tuple(_row(look) for look in rule.looks)
    return Finding(
        kind="capture",
        name="convergence",
        title="How many samples the ranking takes",
        headline=(_sentence(rule, samples, available),),
        warnings=() if rule.reached else (_warning(rule, available),),
        tables=(_table(rows),),
        plots=(_plot(rule),) if len(rows) > 1 else (),
        data=_data(rule, samples, rows),
    )


def _sentence(rule: StoppingRule, samples: int, available: int) -> str:
    top = f"the top {100 * rule.top:g} % by {rule.metric}"
    if not rule.looks:
        return f"There were too few samples to measure how stable {top} is."
    mean = rule.looks[-1].overlap.mean
    if rule.reached:
        return (
            f"After {samples} of {available} samples {top} was stable: two halves of the samples "
            f"overlap by {mean:.2f} (requested: {rule.min_overlap:g})."
        )
    return (
        f"All {samples} samples were read and {top} was not stable: two halves of the samples "
        f"overlap by {mean:.2f} (requested: {rule.min_overlap:g})."
    )


def _warning(rule: StoppingRule, available: int) -> str:
    return (
        f"the top by {rule.metric} is not stable within the {available} samples; raise "
        "capture.samples, or lower capture.stop_when.min_overlap"
    )


def _table(rows: tuple[tuple[int, float, float, float], ...]) -> Table:
    columns = ("samples", "overlap", "lowest", "highest")
    return Table("stability", "Stability of the top nodes", columns, rows, _NOTE)


def _plot(rule: StoppingRule) -> LinePlot:
    x = tuple(float(look.samples) for look in rule.looks)
    seen = [look.overlap for look in rule.looks]
    curve = Line(
        rule.metric,
        x,
        tuple(each.mean for each in seen),
        tuple(each.low for each in seen),
        tuple(each.high for each in seen),
    )
    target = Line("requested", (x[0], x[-1]), (rule.min_overlap, rule.min_overlap), style="dashed")
    title = f"Stability of the top {100 * rule.top:g} % of the nodes"
    return LinePlot("stability", title, "samples", "overlap of two halves", (curve, target), _NOTE)


def _data(
    rule: StoppingRule, samples: int, rows: tuple[tuple[int, float, float, float], ...]
) -> dict[str, Any]:
    return {
        "metric": rule.metric,
        "top": rule.top,
        "min_overlap": rule.min_overlap,
        "reached": rule.reached,
        "samples": samples,
        "curve": [
            {"samples": n, "overlap": mean, "lowest": low, "highest": high}
            for n, mean, low, high in rows
        ],
    }
