"""The capture stage: from the plan to statistics in the run folder."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nodelens.capture.checkpoint.checkpoint import Checkpoint, Position
from nodelens.capture.checkpoint.saved_capture import load_capture, save_capture
from nodelens.capture.distributed.workers import leave_group
from nodelens.capture.request import CaptureRequest
from nodelens.experiments.calibration import (
    FoldBatches,
    calibration_batches,
    fingerprint,
    fingerprint_of_model,
)
from nodelens.experiments.capture_record import capture_findings, capture_json
from nodelens.experiments.convergence import convergence_finding, recalled, stopping_rule
from nodelens.experiments.resume import note_origin
from nodelens.scoring.stopping import FIRST, StoppingRule

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.plan.budgeted_plan import Planned
    from nodelens.capture.plan.capture_plan import CapturePlan
    from nodelens.capture.result import Capture
    from nodelens.experiments.experiment import Experiment, StageResult
    from nodelens.experiments.run_state import RunState
    from nodelens.experiments.setup import StudyInputs
    from nodelens.interfaces.dataset import Samples

STATISTICS = "statistics.safetensors"
ABOUT = "capture.json"
FOLDER = "capture"
"""The folder with the checkpoint of an unfinished capture; it is deleted in the end."""


def recall_statistics(experiment: Experiment, state: RunState, name: str) -> None:
    """Read the statistics that a resumed run has captured before."""
    shutil.rmtree(experiment.run.file(FOLDER), ignore_errors=True)
    state.capture = load_capture(experiment.run.file(STATISTICS), state.planned.plan)


def capture_statistics(experiment: Experiment, state: RunState, name: str) -> None:
    """Stream the calibration samples and keep the statistics of the plan.

    A resumed run continues from its checkpoint.
    """
    study, planned, run = state.study, state.planned, experiment.run
    plan = planned.plan
    with experiment.stage(name) as stage:
        rule = _rule(experiment, study, planned)
        request = capture_request(experiment, study, plan, rule)
        capture = _kept(experiment, stage, experiment.plugins.capture(request))
        experiment.note_replaced("nodelens_capture")
        if experiment.workers.last:
            leave_group()
        if rule is not None:
            rule.look(capture)
            found = convergence_finding(rule, capture.samples, len(study.calibration))
            experiment.keep(stage, found)
        for finding in capture_findings(capture):
            experiment.keep(stage, finding)
        experiment.plugins.captured(capture)
    shutil.rmtree(run.file(FOLDER), ignore_errors=True)
    state.capture = capture


def _rule(experiment: Experiment, study: StudyInputs, planned: Planned) -> StoppingRule | None:
    settings = experiment.config.capture.stop_when
    if settings is None:
        return None
    return stopping_rule(settings, study, planned, experiment.run)


def capture_request(
    experiment: Experiment, study: StudyInputs, plan: CapturePlan, rule: StoppingRule | None = None
) -> CaptureRequest:
    """Return the capture request; each worker has its own folder, and rank 0 reports progress."""
    samples, settings, run = study.calibration, experiment.config, experiment.run
    workers = experiment.workers
    folder = run.file(f"{FOLDER}/rank-{workers.rank}" if workers.rank else FOLDER)

    def resumed(position: Position) -> None:
        note_origin(run, f"capture, {position}")
        if rule is not None:
            rule.looks = recalled(run, int(position.rows.sum()))

    return CaptureRequest(
        model=study.handle.module,
        graph=study.graph,
        batches=_batches(experiment, samples, plan),
        plan=plan,
        device=experiment.device,
        loss=study.loss,
        target=study.target,
        total=len(samples),
        progress=experiment.progress,
        observe=None if workers.rank else experiment.plugins.capture_batch,
        seed=_seed(experiment),
        store=folder,
        checkpoint=Checkpoint(
            folder=folder,
            key=f"{fingerprint(samples)} {fingerprint_of_model(study.handle.module)}",
            seconds=settings.capture.checkpoint_seconds,
            resumed=None if workers.rank else resumed,
        ),
        enough=rule,
        workers=workers,
    )


def _seed(experiment: Experiment) -> int:
    """Return the seed of probes and sampled labels: that of the capture, or that of the run."""
    own = experiment.config.capture.seed
    return experiment.seed if own is None else own


def _batches(
    experiment: Experiment, samples: Samples, plan: CapturePlan
) -> list[Batch] | FoldBatches:
    """Return the calibration batches, small enough for a stopping rule's first look."""
    size, stop_when = experiment.config.data.batch_size, experiment.config.capture.stop_when
    if stop_when is not None:
        size = min(size, FIRST * plan.folds)
    return calibration_batches(samples, size, plan, in_order=stop_when is not None)


def _kept(experiment: Experiment, stage: StageResult, capture: Capture) -> Capture:
    """Write the statistics and the findings of a capture.

    Returns the capture, its states in the file that was written where memory is short.
    """
    run = experiment.run
    save_capture(run.file(STATISTICS), capture)
    run.write_json(ABOUT, capture_json(capture))
    stage.files += [STATISTICS, ABOUT]
    return load_capture(run.file(STATISTICS), capture.plan) if capture.plan.spills else capture
