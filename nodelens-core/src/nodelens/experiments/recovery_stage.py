"""The stage after pruning: every recovery of a config on every pruned model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.interfaces.recovery import RecoveryRequest
from nodelens.pruning.export import SavedModel, keep_model
from nodelens.recovery.recovery_finding import recovered_finding, refused_finding
from nodelens.recovery.recovery_training import obstacle, recover_and_evaluate

if TYPE_CHECKING:
    from torch import nn

    from nodelens.experiments.experiment import Experiment, StageResult
    from nodelens.experiments.run_state import RunState
    from nodelens.experiments.setup import StudyInputs
    from nodelens.interfaces.recovery import Recovery


def check_recoveries(
    experiment: Experiment, study: StudyInputs, recoveries: Mapping[str, Recovery]
) -> None:
    """Check all recoveries of a run, so that none fails after hours of other work."""
    for recovery in recoveries.values():
        recovery.check(_request(experiment, study, study.handle.module))


def recover_model(
    method: str, label: str, experiment: Experiment, state: RunState, name: str
) -> None:
    """Train a copy of the model that a method has pruned by one recovery, evaluate and keep it.

    A recovery that a killed run has not finished starts again from the pruned model.
    """
    with experiment.stage(name) as stage:
        _recover(experiment, state, method, label, stage)
        experiment.keep(stage, stage.result)


def _recover(
    experiment: Experiment, state: RunState, method: str, label: str, stage: StageResult
) -> None:
    study, pruned = state.study, state.pruned()
    if reason := obstacle(pruned.carried):
        stage.result = refused_finding(method, label, reason)
        return
    model = copy.deepcopy(pruned.carried.model)
    request = evolve(_request(experiment, study, model), masked=pruned.carried.masked)
    before, recovery = pruned.carried.evaluation, state.chosen.recoveries[label]
    found = recover_and_evaluate(recovery, request, state.test, state.dense(), before)
    findings = (pruned.finding, recovered_finding(method, label, found))
    place = f"pruned/{method}/recovered/{label}"
    saved_model = SavedModel(model, place, method, findings, label)
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
