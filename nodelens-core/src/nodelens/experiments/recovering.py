"""The stage after pruning: every recovery of a config on every pruned model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from nodelens.experiments.pruned_model import Keepsake, keep_model
from nodelens.experiments.recovered import obstacle, recover_and_evaluate
from nodelens.experiments.recovered_finding import recovered_finding, refused_finding
from nodelens.recovery.contract import RecoveryRequest

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.experiments.context import Experiment, Stage
    from nodelens.experiments.pruned import Pruned
    from nodelens.experiments.setup import Subject
    from nodelens.recovery.contract import Recovery
    from nodelens.training.evaluation import Evaluation


@frozen(eq=False)
class Start:
    """What all recoveries of one pruned model start from and are compared with."""

    method: str
    pruned: Pruned
    dense: Callable[[], Evaluation]
    test: list[Batch]


def check_recoveries(
    experiment: Experiment, subject: Subject, recoveries: Mapping[str, Recovery]
) -> None:
    """Raise for what would stop a recovery after hours of other work."""
    for recovery in recoveries.values():
        recovery.check(_request(experiment, subject, subject.handle.module))


def pending(experiment: Experiment, recoveries: Mapping[str, Recovery], method: str) -> bool:
    """Say whether any recovery of a method's model is still to be done."""
    return any(_stage(method, label) not in experiment.kept for label in recoveries)


def _stage(method: str, label: str) -> str:
    return f"recovery.{method}.{label}"


def recover_models(
    experiment: Experiment, subject: Subject, recoveries: Mapping[str, Recovery], start: Start
) -> None:
    """Train a copy of one pruned model by every recovery, evaluate it and keep it.

    What a killed run has left of a recovery is done again from the pruned model.
    """
    for label, recovery in recoveries.items():
        name = _stage(start.method, label)
        if name in experiment.kept:
            continue
        with experiment.stage(name) as stage:
            _recover(experiment, subject, label, recovery, start, stage)
            experiment.keep(stage, stage.result)


def _recover(
    experiment: Experiment,
    subject: Subject,
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
    request = evolve(_request(experiment, subject, model), masked=pruned.carried.masked)
    before = pruned.carried.evaluation
    found = recover_and_evaluate(recovery, request, start.test, start.dense(), before)
    findings = (pruned.finding, recovered_finding(start.method, label, found))
    place = f"pruned/{start.method}/recovered/{label}"
    keepsake = Keepsake(model, place, start.method, findings, label)
    stage.result, written = keep_model(experiment, subject, keepsake)
    stage.files += written


def _request(experiment: Experiment, subject: Subject, model: nn.Module) -> RecoveryRequest:
    return RecoveryRequest(
        model=model,
        dense=subject.handle.module,
        train=subject.splits.train,
        calibration=subject.calibration,
        batch_size=experiment.config.data.batch_size,
        seed=experiment.seed,
        device=experiment.device,
        progress=experiment.progress,
    )
