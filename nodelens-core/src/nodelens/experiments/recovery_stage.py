"""The stage after pruning: every recovery of a config on every pruned model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from nodelens.interfaces.recovery import RecoveryRequest
from nodelens.pruning.export import SavedModel, keep_model
from nodelens.recovery.recovery_finding import recovered_finding, refused_finding
from nodelens.recovery.recovery_training import obstacle, recover_and_evaluate

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.experiments.experiment import Experiment, Stage
    from nodelens.experiments.setup import StudyInputs
    from nodelens.interfaces.recovery import Recovery
    from nodelens.pruning.apply import PruningResult
    from nodelens.training.model_evaluation import EvaluationResult


@frozen(eq=False)
class Start:
    """The pruned model that recoveries start from, with the evaluations to compare with."""

    method: str
    pruned: PruningResult
    dense: Callable[[], EvaluationResult]
    test: list[Batch]


def check_recoveries(
    experiment: Experiment, study: StudyInputs, recoveries: Mapping[str, Recovery]
) -> None:
    """Check all recoveries of a run, so that none fails after hours of other work."""
    for recovery in recoveries.values():
        recovery.check(_request(experiment, study, study.handle.module))


def pending(experiment: Experiment, recoveries: Mapping[str, Recovery], method: str) -> bool:
    """Return whether any recovery of a method's model is still to be done."""
    return any(_stage(method, label) not in experiment.completed_stages for label in recoveries)


def _stage(method: str, label: str) -> str:
    return f"recovery.{method}.{label}"


def recover_models(
    experiment: Experiment, study: StudyInputs, recoveries: Mapping[str, Recovery], start: Start
) -> None:
    """Train a copy of one pruned model by every recovery, evaluate it and keep it.

    A recovery that a killed run has not finished starts again from the pruned model.
    """
    for label, recovery in recoveries.items():
        name = _stage(start.method, label)
        if name in experiment.completed_stages:
            continue
        with experiment.stage(name) as stage:
            _recover(experiment, study, label, recovery, start, stage)
            experiment.keep(stage, stage.result)


def _recover(
    experiment: Experiment,
    study: StudyInputs,
    label: str,
    recovery: Recovery,
    start: Start,
    stage: Stage,
) -> None:
    pruned = start.pruned
    if reason := obstacle(pruned.carried):
        stage.result = refused_finding(start.method, label, reason)
        return
    model = copy.deepcopy(pruned.carried.model)
    request = evolve(_request(experiment, study, model), masked=pruned.carried.masked)
    before = pruned.carried.evaluation
    found = recover_and_evaluate(recovery, request, start.test, start.dense(), before)
    findings = (pruned.finding, recovered_finding(start.method, label, found))
    place = f"pruned/{start.method}/recovered/{label}"
    saved_model = SavedModel(model, place, start.method, findings, label)
    stage.result, written = keep_model(experiment, study, saved_model)
    stage.files += written


def _request(experiment: Experiment, study: StudyInputs, model: nn.Module) -> RecoveryRequest:
    return RecoveryRequest(
        model=model,
        dense=study.handle.module,
        train=study.splits.train,
        calibration=study.calibration,
        batch_size=experiment.config.data.batch_size,
        seed=experiment.seed,
        device=experiment.device,
        progress=experiment.progress,
        loss=study.loss,
    )
