"""The metrics that patterns took and left out, in a run's log, record and config."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.config.dump import to_mapping, to_yaml
from nodelens.config.schema import is_pattern
from nodelens.errors import RunError
from nodelens.experiments.experiment import log
from nodelens.experiments.record import used_components
from nodelens.storage.run_record import PatternRecord

if TYPE_CHECKING:
    from nodelens.capture.plan.budgeted_plan import Planned
    from nodelens.experiments.experiment import Experiment
    from nodelens.experiments.run_components import RunComponents
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder


def record_patterns(experiment: Experiment, chosen: RunComponents, planned: Planned) -> None:
    """Write the metrics that patterns took to the run's record and config.

    Raises `RunError` when a resumed run would take other metrics than before.
    """
    config, run = experiment.config, experiment.run
    if not any(is_pattern(component.name) for component in config.metrics):
        return
    known = run.record().patterns
    before = planned.taken if known is None else known.taken
    if changed := sorted({*before} ^ {*planned.taken}):
        raise RunError(
            f"{run.path}: the patterns under 'metrics' took other metrics when the run started "
            f"({', '.join(changed)}); resume without CONFIG, or start a new run"
        )
    for name, reason in planned.left_out.items():
        log.info("metric %s is left out: %s", name, reason)
    named = [part for part in chosen.components if part.result_name not in planned.left_out]
    resolved = evolve(config, metrics=tuple(named))
    run.update_record(
        patterns=PatternRecord(
            to_mapping(config)["metrics"], tuple(planned.taken), dict(planned.left_out)
        ),
        components=used_components(resolved, experiment.plugins),
    )
    run.resolve_config(to_yaml(resolved))


def record_unscored(run: RunFolder, scores: Scores, unread: Collection[str]) -> None:
    """Record the metrics of patterns that could score no group as left out.

    Groups that cannot be read, `unread`, do not count against a metric.
    """
    patterns = run.record().patterns
    if patterns is None:
        return
    scored = {*scores.metrics, *scores.layer_metrics, *scores.failed}
    left_out = dict(patterns.left_out)
    waiting = set(patterns.taken) - scored
    for (name, group), reason in scores.skipped.items():
        if name in waiting and group not in unread:
            waiting.remove(name)
            left_out[name] = f"no group can be scored; {group}: {reason}"
            log.info("metric %s is left out: %s", name, left_out[name])
    run.update_record(patterns=evolve(patterns, left_out=left_out))
