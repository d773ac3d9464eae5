"""The stages of a run: each takes and returns values and leaves artifacts in the run folder."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from nodelens.analyses.contract import Analysis
from nodelens.capture.engine import Capture, CaptureRequest
from nodelens.capture.plan import CapturePlan
from nodelens.data.splits import batches
from nodelens.experiments.pruned import Pruned, prune_and_evaluate
from nodelens.experiments.pruning import PruningRequest
from nodelens.experiments.setup import Chosen, Subject, plan_capture
from nodelens.interventions.contract import Intervention, InterventionRequest
from nodelens.reports.contract import Report
from nodelens.scoring.engine import ScoreRequest
from nodelens.statistics.contract import covering
from nodelens.statistics.moments import Moments
from nodelens.storage.tensors import write_state
from nodelens.training.evaluation import Evaluation, evaluate
from nodelens.training.loop import train

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.experiments.context import Experiment
    from nodelens.scoring.scores import Scores

WEIGHTS = "weights.safetensors"


def train_model(experiment: Experiment, subject: Subject) -> None:
    """Train the model as the config says and keep its best weights in the run folder."""
    settings = experiment.config.training
    if settings is None:
        return
    with experiment.stage("training") as stage:
        result = train(
            subject.handle.module,
            subject.splits,
            settings,
            batch_size=experiment.config.data.batch_size,
            seed=experiment.seed,
            device=experiment.device,
            progress=experiment.progress,
        )
        state = subject.handle.module.state_dict()
        write_state(experiment.run.path / WEIGHTS, state, {"origin": subject.handle.origin})
        stage.result = result.finding()
        experiment.keep(stage.result)


def evaluate_model(experiment: Experiment, subject: Subject) -> tuple[Evaluation, list[Batch]]:
    """Evaluate the model on the test split; return the result and the batches for later pairs."""
    with experiment.stage("evaluation") as stage:
        size = experiment.config.data.batch_size
        test = [batch.to(experiment.device) for batch in batches(subject.splits.test, size)]
        evaluation = evaluate(subject.handle.module, test)
        stage.result = evaluation.finding("test", subject.splits.classes)
        experiment.keep(stage.result)
    return evaluation, test


def capture_statistics(experiment: Experiment, subject: Subject, chosen: Chosen) -> Capture:
    """Stream the calibration samples once and keep the statistics that the plan asks for."""
    plan = plan_capture(experiment.config, subject, chosen)
    with experiment.stage("capture") as stage:
        samples = subject.calibration
        request = CaptureRequest(
            model=subject.handle.module,
            graph=subject.graph,
            batches=batches(samples, experiment.config.data.batch_size),
            plan=plan,
            device=experiment.device,
            total=len(samples),
            progress=experiment.progress,
            observe=experiment.plugins.capture_batch,
        )
        capture = experiment.plugins.capture(request)
        experiment.run.write_json("capture.json", _capture_json(plan, capture))
        write_state(experiment.run.path / "statistics.safetensors", _flat(capture), {})
        experiment.plugins.captured(capture)
        stage.result = None
    return capture


def _capture_json(plan: CapturePlan, capture: Capture) -> dict[str, Any]:
    return {
        "samples": capture.samples,
        "rows_by_fold": capture.rows.tolist(),
        "passes": plan.passes,
        "gradient": plan.gradient,
        "bytes": plan.bytes,
        "sites_read": dict(capture.fired),
        "unread": dict(plan.unread),
    }


def _flat(capture: Capture) -> dict[str, torch.Tensor]:
    return {
        f"{group}/{statistic}/{name}": tensor.cpu().contiguous()
        for group, states in capture.states.items()
        for statistic, state in states.items()
        for name, tensor in state.items()
    }


def score_nodes(
    experiment: Experiment, subject: Subject, chosen: Chosen, capture: Capture
) -> Scores:
    """Score every node by every metric and write ``scores.safetensors`` and ``scores.csv``."""
    with experiment.stage("scores") as stage:
        request = ScoreRequest(subject.handle.module, subject.graph, chosen.metrics, capture)
        scores = experiment.plugins.score(request)
        scores.save(experiment.run.path / "scores.safetensors")
        experiment.run.write_text("scores.csv", _csv(scores))
        experiment.plugins.scored(scores, experiment.run)
        stage.result = scores
    return scores


def _csv(scores: Scores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "group", "node", "value", "se", "better", "unit"])
    writer.writerows(scores.rows())
    return text.getvalue()


def analyse_scores(experiment: Experiment, scores: Scores) -> None:
    """Run the analyses of the config."""
    for component in experiment.config.analyses:
        with experiment.stage(f"analyses.{component.result_name}") as stage:
            analysis: Analysis = experiment.build("analysis", component)
            stage.result = analysis.analyse(scores, experiment.seed)
            experiment.keep(stage.result)


def node_means(capture: Capture) -> dict[str, torch.Tensor]:
    """Return the mean activation of every node by group, ``(nodes,)`` float64."""
    keep = torch.ones(len(capture.rows), dtype=torch.bool)
    means: dict[str, torch.Tensor] = {}
    for entry in capture.plan.entries:
        states = capture.states.get(entry.name, {})
        found = covering(Moments(), states)
        if found is not None:
            means[entry.name] = found.summary(states[found], keep).mean
    return means


def intervene(
    experiment: Experiment,
    subject: Subject,
    scores: Scores,
    test: list[Batch],
    means: dict[str, torch.Tensor],
) -> None:
    """Run the interventions of the config on the test samples."""
    for component in experiment.config.interventions:
        name = component.result_name
        with experiment.stage(f"interventions.{name}") as stage:
            intervention: Intervention = experiment.build("intervention", component)
            request = InterventionRequest(
                model=subject.handle.module,
                graph=subject.graph,
                scores=scores,
                batches=test,
                seed=experiment.seed,
                device=experiment.device,
                means=means,
                progress=experiment.progress,
            )
            stage.result = evolve(intervention.run(request), name=name)
            experiment.keep(stage.result)


def prune_model(
    experiment: Experiment,
    subject: Subject,
    chosen: Chosen,
    scores: Scores,
    test: list[Batch],
    dense: Evaluation,
    means: dict[str, torch.Tensor],
) -> None:
    """Prune with every method of the config, each from the same dense model, and evaluate."""
    request = PruningRequest(subject.handle.module, subject.graph, scores, experiment.seed)
    for name, pruner in chosen.pruners.items():
        with experiment.stage(f"pruning.{name}") as stage:
            pruned = prune_and_evaluate(name, pruner, request, test, means, dense)
            if pruned.model is not None:
                _keep_pruned(experiment, name, pruned)
            stage.result = pruned.finding
            experiment.keep(stage.result)


def _keep_pruned(experiment: Experiment, name: str, pruned: Pruned) -> None:
    """Write the weights of a pruned model and which nodes of the dense model it kept."""
    assert pruned.model is not None
    folder = f"pruned/{name}"
    state = pruned.model.state_dict()
    write_state(experiment.run.file(f"{folder}/{WEIGHTS}"), state, {"method": name})
    experiment.run.write_json(f"{folder}/plan.json", {"kept": pruned.finding.data["kept"]})


def write_reports(experiment: Experiment) -> None:
    """Write every report of the config from the run folder."""
    for component in experiment.config.reports:
        report: Report = experiment.build("report", component)
        report.write(experiment.run)
