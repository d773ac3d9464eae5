"""The stages of a run: each takes and returns values and leaves artifacts in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

import torch
from attrs import evolve

from nodelens.data.splits import batches
from nodelens.experiments.recovery_stage import Start, pending, recover_models
from nodelens.interfaces.evaluation import Evaluation, EvaluationRequest
from nodelens.interfaces.intervention import Intervention, InterventionRequest
from nodelens.interfaces.pruner import PruningRequest
from nodelens.interfaces.statistic import covering
from nodelens.pruning.apply import PruningResult, apply_plan, prune_and_evaluate
from nodelens.pruning.export import SavedModel, keep_model
from nodelens.pruning.pruning_finding import plan_of
from nodelens.reports.score_tables import layers_csv, scores_csv
from nodelens.scoring.scorer import ScoreRequest, check_scored
from nodelens.scoring.scores import Scores
from nodelens.statistics.moments import Moments
from nodelens.storage.tensors import read_state, write_state
from nodelens.training.chance import frequency_guesses
from nodelens.training.evaluation_finding import evaluation_finding
from nodelens.training.model_evaluation import EvaluationResult, evaluate
from nodelens.training.references import with_references
from nodelens.training.training_loop import train

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.result import Capture
    from nodelens.experiments.experiment import Experiment, Stage
    from nodelens.experiments.setup import RunComponents, StudyInputs
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.analysis import Analysis
    from nodelens.interfaces.metric import Metric
    from nodelens.interfaces.report import Report

WEIGHTS = "weights.safetensors"
SCORES = "scores.safetensors"


def train_model(experiment: Experiment, study: StudyInputs) -> None:
    """Train the model as the config says and keep its best weights in the run folder."""
    settings = experiment.config.training
    if settings is None:
        return
    if "training" in experiment.completed_stages:
        study.handle.module.load_state_dict(read_state(experiment.run.file(WEIGHTS)))
        return
    with experiment.stage("training") as stage:
        result = train(
            study.handle.module,
            study.splits,
            settings,
            batch_size=experiment.config.data.batch_size,
            seed=experiment.seed,
            device=experiment.device,
            progress=experiment.progress,
            loss=study.loss,
        )
        state = study.handle.module.state_dict()
        write_state(experiment.run.file(WEIGHTS), state, {"origin": study.handle.origin})
        stage.files.append(WEIGHTS)
        stage.result = result.finding()
        experiment.keep(stage, stage.result)


def test_batches(experiment: Experiment, study: StudyInputs) -> list[Batch]:
    """Return the test samples on the run's device, for all stages that compare on them."""
    size = experiment.config.data.batch_size
    found = [batch.to(experiment.device) for batch in batches(study.splits.test, size, study.loss)]
    return found if study.predicts else with_references(study.handle.module, found)


def evaluate_model(
    experiment: Experiment, study: StudyInputs, test: list[Batch]
) -> Callable[[], EvaluationResult]:
    """Evaluate the model on the test split; a resumed run evaluates again where needed."""
    if "evaluation" in experiment.completed_stages:
        return cache(lambda: evaluate(study.handle.module, test))
    with experiment.stage("evaluation") as stage:
        evaluation = evaluate(study.handle.module, test)
        stage.result = evaluation_finding(
            evaluation, "test", study.splits.classes, frequency_guesses(test)
        )
        experiment.keep(stage, stage.result)
    return lambda: evaluation


def run_evaluations(experiment: Experiment, study: StudyInputs) -> None:
    """Run the evaluations of the config on the dense model."""
    for component in experiment.config.evaluations:
        stage_name = f"evaluations.{component.result_name}"
        if stage_name in experiment.completed_stages:
            continue
        with experiment.stage(stage_name) as stage:
            evaluation: Evaluation = experiment.build("evaluation", component)
            request = EvaluationRequest(
                study.handle.module,
                experiment.seed,
                experiment.device,
                experiment.progress,
                experiment.allowed,
            )
            stage.result = evolve(evaluation.evaluate(request), name=component.result_name)
            experiment.keep(stage, stage.result)


def score_nodes(
    experiment: Experiment, study: StudyInputs, metrics: Mapping[str, Metric], capture: Capture
) -> Scores:
    """Score every node and layer by every metric and write the scores, also as CSV."""
    if "scores" in experiment.completed_stages:
        return Scores.load(experiment.run.file(SCORES))
    with experiment.stage("scores") as stage:
        request = ScoreRequest(
            study.handle.module, study.graph, metrics, capture, experiment.progress
        )
        scores = experiment.plugins.score(request)
        check_scored(scores, capture)
        experiment.note_replaced("nodelens_score")
        scores.save(experiment.run.file(SCORES))
        experiment.run.write_text("scores.csv", scores_csv(scores))
        stage.files += [SCORES, "scores.csv"]
        if scores.layers:
            experiment.run.write_text("layers.csv", layers_csv(scores))
            stage.files.append("layers.csv")
        experiment.plugins.scored(scores, experiment.run)
        stage.result = scores
    return scores


def analyse_scores(experiment: Experiment, scores: Scores) -> None:
    """Run the analyses of the config."""
    for component in experiment.config.analyses:
        stage_name = f"analyses.{component.result_name}"
        if stage_name in experiment.completed_stages:
            continue
        with experiment.stage(stage_name) as stage:
            analysis: Analysis = experiment.build("analysis", component)
            stage.result = analysis.analyse(scores, experiment.seed)
            experiment.keep(stage, stage.result)


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
    study: StudyInputs,
    scores: Scores,
    test: list[Batch],
    means: dict[str, torch.Tensor],
) -> None:
    """Run the interventions of the config on the test samples."""
    for component in experiment.config.interventions:
        name = component.result_name
        if f"interventions.{name}" in experiment.completed_stages:
            continue
        with experiment.stage(f"interventions.{name}") as stage:
            intervention: Intervention = experiment.build("intervention", component)
            request = InterventionRequest(
                model=study.handle.module,
                graph=study.graph,
                scores=scores,
                batches=test,
                seed=experiment.seed,
                device=experiment.device,
                means=means,
                progress=experiment.progress,
                allowed=experiment.allowed,
            )
            stage.result = evolve(intervention.run(request), name=name)
            experiment.keep(stage, stage.result)


def prune_model(
    experiment: Experiment,
    study: StudyInputs,
    chosen: RunComponents,
    scores: Scores,
    test: list[Batch],
    dense: Callable[[], EvaluationResult],
    means: dict[str, torch.Tensor],
) -> None:
    """Prune with every method of the config, each from the same dense model, and evaluate.

    Every pruned model is then trained by the recoveries of the config.
    """
    request = PruningRequest(
        study.handle.module, study.graph, scores, experiment.seed, study.handle.hints
    )
    for name, pruner in chosen.pruners.items():
        if f"pruning.{name}" not in experiment.completed_stages:
            with experiment.stage(f"pruning.{name}") as stage:
                pruned = prune_and_evaluate(name, pruner, request, test, means, dense())
                _keep_pruned(experiment, study, name, pruned, stage)
        elif pending(experiment, chosen.recoveries, name):
            finding = _finding(experiment, "pruning", name)
            pruned = PruningResult(finding, apply_plan(request, plan_of(finding), test, means))
        else:
            continue
        recover_models(experiment, study, chosen.recoveries, Start(name, pruned, dense, test))


def _keep_pruned(
    experiment: Experiment, study: StudyInputs, name: str, pruned: PruningResult, stage: Stage
) -> None:
    """Write the finding of a pruning method, its model, and the plan of kept nodes."""
    stage.result = pruned.finding
    if pruned.model is not None:
        plan = f"pruned/{name}/plan.json"
        experiment.run.write_json(plan, {"kept": pruned.finding.data["kept"]})
        saved_model = SavedModel(pruned.model, f"pruned/{name}", name, (pruned.finding,))
        stage.result, written = keep_model(experiment, study, saved_model)
        stage.files += [plan, *written]
    experiment.keep(stage, stage.result)


def _finding(experiment: Experiment, kind: str, name: str) -> Finding:
    """Return the stored finding of a stage that a resumed run does not run again."""
    found = experiment.run.findings()
    return next(each for each in found if (each.kind, each.name) == (kind, name))


def write_reports(experiment: Experiment) -> None:
    """Write every report of the config from the run folder."""
    for component in experiment.config.reports:
        report: Report = experiment.build("report", component)
        report.write(experiment.run)
