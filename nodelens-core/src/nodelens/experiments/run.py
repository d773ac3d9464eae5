"""One run from config to report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from nodelens.capture.distributed.workers import Workers, own_device
from nodelens.channels.graph_record import write_graph
from nodelens.config.dump import to_yaml
from nodelens.config.schema import CaptureSettings
from nodelens.errors import ConfigError, NodelensError, RunError, TerminationError
from nodelens.experiments import stages
from nodelens.experiments.broadcast import broadcast_study
from nodelens.experiments.calibration import fingerprint
from nodelens.experiments.capture_record import loss_numbers
from nodelens.experiments.experiment import Experiment, log, status_of
from nodelens.experiments.pattern_record import record_patterns, record_unscored
from nodelens.experiments.record import describe
from nodelens.experiments.recovery_stage import check_recoveries
from nodelens.experiments.resume import check_resumable, reopen
from nodelens.experiments.run_components import RunComponents, choose_metrics, plan_capture
from nodelens.experiments.run_state import RunState
from nodelens.experiments.setup import StudyInputs, choose_device, load_study
from nodelens.experiments.stage_order import (
    preparing_stages,
    run_stages,
    scoring_stages,
    testing_stages,
)
from nodelens.experiments.termination import terminable
from nodelens.interfaces.backend import Permissions
from nodelens.interventions.ablator import maskable
from nodelens.printable import printable
from nodelens.progress import Progress, silent
from nodelens.storage.run_folder import RunFolder
from nodelens.storage.run_lock import locked
from nodelens.storage.run_record import LossRecord, ModelRecord

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.interfaces.backend import ModelHandle
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.scores import Scores
    from nodelens.training.model_evaluation import EvaluationResult


DEFAULT_SAMPLES = CaptureSettings().samples


def run_experiment(
    config: RunConfig,
    plugins: Plugins,
    progress: Progress = silent,
    allowed: Permissions | None = None,
    resume: RunFolder | None = None,
    workers: Workers | None = None,
) -> RunFolder:
    """Run all stages of the config and return the run folder.

    Names, options and the device are checked before the folder is made. A run that fails or is
    interrupted says so in ``run.json`` and in its report, and the error reaches the caller. With
    `resume`, that run continues: finished stages are not run again. Raises `RunError` when it
    cannot. With `workers` other processes capture parts of the data: see `run_all_workers`.
    """
    device = own_device(choose_device(config.device))
    chosen = choose_metrics(config, plugins.registry)
    allowed = allowed or Permissions()
    _check_requirements(config, plugins, allowed)
    run = resume or RunFolder.create(Path(config.output), config.name, to_yaml(config))
    with locked(run.path):
        completed: frozenset[str] = frozenset()
        if resume is not None:
            check_resumable(resume, config, str(device), plugins.records)
            completed = reopen(resume)
        experiment = Experiment(
            config, plugins, run, device, progress, allowed, completed, workers or Workers()
        )
        _run(experiment, chosen)
    return run


def _run(experiment: Experiment, chosen: RunComponents) -> None:
    """Run all stages, and record their end whatever it is."""
    config, plugins, run = experiment.config, experiment.plugins, experiment.run
    with _threads(_thread_count(experiment)), _logged(run), _recorded(experiment), terminable():
        if not run.record().versions:
            named = evolve(config, metrics=chosen.components)
            run.update_record(**describe(named, plugins, str(experiment.device)))
        run.update_record(allowed=experiment.allowed)
        plugins.run_started(run)
        _perform(experiment, chosen)


def _check_requirements(config: RunConfig, plugins: Plugins, allowed: Permissions) -> None:
    """Check labels of evaluations, and call the ``check`` of evaluations and interventions."""
    if "test" in (each.result_name for each in config.evaluations):
        raise ConfigError(["evaluations: 'test' is that of the test samples; give another label"])
    build = plugins.registry.build
    built: list[Any] = [build("evaluation", each) for each in config.evaluations]
    built += [build("intervention", each) for each in config.interventions]
    for component in built:
        if hasattr(component, "check"):
            component.check(allowed)


def _thread_count(experiment: Experiment) -> int | None:
    """Return the threads to use; a resumed run keeps its number, on which sums depend."""
    return experiment.config.threads or experiment.run.record().threads


def _perform(experiment: Experiment, chosen: RunComponents) -> None:
    with experiment.stage("model"):
        study = load_study(
            experiment.config, experiment.plugins, experiment.device, experiment.allowed
        )
        experiment.run.update_record(model=_about(study.handle), **_about_losses(study))
        write_graph(experiment.run, study.graph)
        planned = plan_capture(experiment.config, study, chosen)
        record_patterns(experiment, chosen, planned)
        check_recoveries(experiment, study, chosen.recoveries)
    _check_data(experiment.run, study)
    state = RunState(chosen, study, planned)
    run_stages(experiment, state, preparing_stages(experiment.config))
    broadcast_study(experiment, study)
    state.test = stages.test_batches(experiment, study)
    run_stages(experiment, state, scoring_stages(experiment.config))
    _conclude(experiment, state)
    state.means = stages.node_means(state.capture)
    run_stages(experiment, state, testing_stages(experiment.config, chosen))


def _conclude(experiment: Experiment, state: RunState) -> None:
    """Record the key numbers and the warnings of the scores."""
    study, scores, capture = state.study, state.scores, state.capture
    record_unscored(experiment.run, scores, state.planned.plan.unread)
    if not experiment.run.record().summary or "scores" not in experiment.completed_stages:
        numbers = _summary(study, state.dense(), scores) | loss_numbers(capture, study.target)
        experiment.run.update_record(summary=numbers)
    _warn(experiment, study, scores)


def _about(handle: ModelHandle) -> ModelRecord:
    return ModelRecord(handle.origin, handle.pretrained, dict(handle.notes))


def _about_losses(study: StudyInputs) -> dict[str, Any]:
    """Return the loss, what nodes are scored for, and the classes in the order of the outputs."""
    target = study.target
    return {
        "loss": LossRecord(study.loss.name, study.loss.unit),
        "target": None if target is None else LossRecord(target.name, target.loss.info.unit),
        "classes": study.splits.classes,
    }


def _check_data(run: RunFolder, study: StudyInputs) -> None:
    """Record a digest of the data; raise `RunError` when a resumed run has other data."""
    now = (fingerprint(study.calibration), fingerprint(study.splits.test))
    if run.record().data not in ((), now):
        raise RunError(
            f"{run.path}: the data are not those that the run was started on; restore them, or "
            "start a new run"
        )
    run.update_record(data=now)


def _summary(
    study: StudyInputs, dense: EvaluationResult, scores: Scores
) -> dict[str, float | int | None]:
    """Return the key numbers of a run, which reports show first."""
    parameters = study.handle.module.parameters()
    accuracy: dict[str, float | None] = {}
    if dense.accuracy_estimate is not None:
        accuracy["test_accuracy"] = dense.accuracy_estimate.finite()
        accuracy["test_accuracy_se"] = dense.accuracy_estimate.finite_se()
    for name, measure in dense.measures.items():
        accuracy[f"test_{name}"] = measure.finite()
        accuracy[f"test_{name}_se"] = measure.finite_se()
    return {
        **accuracy,
        "test_loss": dense.loss_estimate.finite(),
        "test_loss_se": dense.loss_estimate.finite_se(),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "nodes": sum(group.width for group in maskable(study.graph)),
        "metrics": len(scores.metrics) + len(scores.layer_metrics),
        "calibration_samples": scores.samples,
    }


def _warn(experiment: Experiment, study: StudyInputs, scores: Scores) -> None:
    warnings = [f"metric {name} failed: {reason}" for name, reason in scores.failed.items()]
    warnings.extend(scores.told())
    if not study.graph.traced:
        warnings.append(f"{study.graph.note}: nodes are read at layer outputs, none can be pruned")
    labels = study.calibration.targets
    if study.calibration.classed and int(labels.min()) == int(labels.max()):
        warnings.append(
            f"all calibration labels are of class {study.splits.classes[int(labels[0])]}: nothing "
            "can be learned from them"
        )
    asked, found = experiment.config.capture.samples, len(study.calibration)
    if asked is not None and found < asked != DEFAULT_SAMPLES:
        warnings.append(f"capture.samples asks for {asked}; there are {found} training samples")
    unknown = study.graph.unknown_operators
    warnings.extend(f"operator {name} has no rule: what it touches is frozen" for name in unknown)
    for warning in warnings:
        log.warning("%s", warning)
    experiment.run.update_record(warnings=tuple(warnings), failed_metrics=dict(scores.failed))


@contextmanager
def _recorded(experiment: Experiment) -> Iterator[None]:
    """Write the end of the run, its reports and its manifest, also after an error."""
    started = time.perf_counter()
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        _finish(experiment, error, time.perf_counter() - started)


def _finish(experiment: Experiment, error: BaseException | None, seconds: float) -> None:
    """Close the run; a second problem while closing a failed run must not hide the first."""
    problem: NodelensError | None = None
    try:
        _record_end(experiment, error, seconds)
        stages.write_reports(experiment)
        experiment.run.write_manifest()
    except NodelensError as raised:
        problem = raised
        _record_failure(experiment, raised, seconds)
    if error or problem:
        log.warning("the run did not finish; what it has done is in %s", experiment.run.path)
    experiment.plugins.run_finished(experiment.run, error or problem)
    if problem and error is None:
        raise problem


def _record_end(experiment: Experiment, error: BaseException | None, seconds: float) -> None:
    """Write how the run ended; a stage that is still recorded as running ended with the run."""
    status, record = status_of(error), experiment.run.record()
    stages = {
        name: evolve(each, status=status) if each.status == "running" else each
        for name, each in record.stages.items()
    }
    experiment.run.update_record(
        status=status,
        stages=stages,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        error=_reason(error),
        warnings=(*record.warnings, *experiment.plugins.warnings),
    )


def _record_failure(experiment: Experiment, problem: NodelensError, seconds: float) -> None:
    """Record that the run failed at its end, as far as that can still be written."""
    try:
        _record_end(experiment, problem, seconds)
        experiment.run.write_manifest()
    except NodelensError as second:
        log.error("%s", second)


def _reason(error: BaseException | None) -> str | None:
    if error is None or isinstance(error, KeyboardInterrupt):
        return None
    said = isinstance(error, NodelensError | TerminationError)
    return str(error) if said else f"{type(error).__name__}: {error}"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Use a number of CPU threads for the run, and restore the former number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def _logged(run: RunFolder) -> Iterator[None]:
    """Write the log of the run to ``run.log``."""
    handler = logging.FileHandler(run.file("run.log"), encoding="utf-8")
    handler.setLevel(logging.INFO)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
