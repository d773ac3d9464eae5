"""The stages of a run: each takes and returns values and leaves artifacts in the run folder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from attrs import evolve

from nodelens.config.stored_values import to_stored
from nodelens.data.splits import batches
from nodelens.interfaces.evaluation import Evaluation, EvaluationRequest
from nodelens.interfaces.intervention import Intervention, InterventionRequest
from nodelens.interfaces.pruner import PruningRequest
from nodelens.interfaces.statistic import covering
from nodelens.pruning.apply import PruningResult, apply_plan, prune_and_evaluate
from nodelens.pruning.export import SavedModel, keep_model
from nodelens.pruning.pruning_finding import kept_nodes, plan_of
from nodelens.reports.score_tables import layers_csv, scores_csv
from nodelens.scoring.scorer import ScoreRequest, check_scored
from nodelens.scoring.scores import Scores
from nodelens.statistics.moments import Moments
from nodelens.storage.tensors import read_state, write_state
from nodelens.training.chance import frequency_guesses
from nodelens.training.evaluation_finding import evaluation_finding
from nodelens.training.model_evaluation import evaluate
from nodelens.training.references import with_references
from nodelens.training.training_loop import train

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.result import Capture
    from nodelens.config.schema import Component
    from nodelens.experiments.experiment import Experiment, StageResult
    from nodelens.experiments.run_state import RunState
    from nodelens.experiments.setup import StudyInputs
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.analysis import Analysis
    from nodelens.interfaces.report import Report

WEIGHTS = "weights.safetensors"
SCORES = "scores.safetensors"


def recall_weights(experiment: Experiment, state: RunState, name: str) -> None:
    """Load the weights that a resumed run has trained before."""
    weights = read_state(experiment.run.file(WEIGHTS))
    state.study.handle.module.load_state_dict(weights)


def train_model(experiment: Experiment, state: RunState, name: str) -> None:
    """Train the model as the config says and keep its best weights in the run folder."""
    study, settings = state.study, experiment.config.training
    assert settings is not None, "the order of stages has no training without settings"
    with experiment.stage(name) as stage:
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
        weights = study.handle.module.state_dict()
        write_state(experiment.run.file(WEIGHTS), weights, {"origin": study.handle.origin})
        stage.files.append(WEIGHTS)
        stage.result = result.finding()
        experiment.keep(stage, stage.result)


def test_batches(experiment: Experiment, study: StudyInputs) -> list[Batch]:
    """Return the test samples on the run's device, for all stages that compare on them."""
    size = experiment.config.data.batch_size
    found = [batch.to(experiment.device) for batch in batches(study.splits.test, size, study.loss)]
    return found if study.predicts else with_references(study.handle.module, found)


def evaluate_on_demand(experiment: Experiment, state: RunState, name: str) -> None:
    """Evaluate the model again, in a resumed run, when a later stage asks for it."""
    state.dense = cache(lambda: evaluate(state.study.handle.module, state.test))


def evaluate_model(experiment: Experiment, state: RunState, name: str) -> None:
    """Evaluate the model on the test split."""
    study, test = state.study, state.test
    with experiment.stage(name) as stage:
        evaluation = evaluate(study.handle.module, test)
        stage.result = evaluation_finding(
            evaluation, "test", study.splits.classes, frequency_guesses(test)
        )
        experiment.keep(stage, stage.result)
    state.dense = lambda: evaluation


def run_evaluation(
    component: Component, experiment: Experiment, state: RunState, name: str
) -> None:
    """Run one evaluation of the config on the dense model."""
    with experiment.stage(name) as stage:
        evaluation: Evaluation = experiment.build("evaluation", component)
        request = EvaluationRequest(
            state.study.handle.module,
            experiment.seed,
            experiment.device,
            experiment.progress,
            experiment.allowed,
        )
        stage.result = evolve(evaluation.evaluate(request), name=component.result_name)
        experiment.keep(stage, stage.result)


def recall_scores(experiment: Experiment, state: RunState, name: str) -> None:
    """Read the scores that a resumed run has written before."""
    state.scores = Scores.load(experiment.run.file(SCORES))


def score_nodes(experiment: Experiment, state: RunState, name: str) -> None:
    """Score every node and layer by every metric and write the scores, also as CSV."""
    study, metrics, capture = state.study, state.planned.metrics, state.capture
    with experiment.stage(name) as stage:
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
    state.scores = scores


def analyse_scores(
    component: Component, experiment: Experiment, state: RunState, name: str
) -> None:
    """Run one analysis of the config."""
    with experiment.stage(name) as stage:
        analysis: Analysis = experiment.build("analysis", component)
        stage.result = analysis.analyse(state.scores, experiment.seed)
        experiment.keep(stage, stage.result)


def node_means(capture: Capture) -> dict[str, torch.Tensor]:
    """Return the mean activation of every node by group, float64.

    ``(nodes,)``, or ``(nodes, components)`` where a node has several.
    """
    keep = torch.ones(len(capture.rows), dtype=torch.bool)
    means: dict[str, torch.Tensor] = {}
    for entry in capture.plan.entries:
        states = capture.states.get(entry.name, {})
        found = covering(Moments(), states)
        if found is not None:
            mean = found.summary(states[found], keep).mean
            components = entry.group.components("activation")
            means[entry.name] = mean if components == 1 else mean.view(-1, components)
    return means


def intervene(component: Component, experiment: Experiment, state: RunState, name: str) -> None:
    """Run one intervention of the config on the test samples."""
    study, scores, test = state.study, state.scores, state.test
    with experiment.stage(name) as stage:
        intervention: Intervention = experiment.build("intervention", component)
        request = InterventionRequest(
            model=study.handle.module,
            graph=study.graph,
            scores=scores,
            batches=test,
            seed=experiment.seed,
            device=experiment.device,
            means=state.means,
            progress=experiment.progress,
            allowed=experiment.allowed,
        )
        stage.result = evolve(intervention.run(request), name=component.result_name)
        experiment.keep(stage, stage.result)


def prune_model(method: str, experiment: Experiment, state: RunState, name: str) -> None:
    """Prune a copy of the dense model with one method of the config, and evaluate it."""
    pruner, request = state.chosen.pruners[method], _pruning_request(experiment, state)
    with experiment.stage(name) as stage:
        pruned = prune_and_evaluate(method, pruner, request, state.test, state.means, state.dense())
        _keep_pruned(experiment, state.study, method, pruned, stage)
    state.pruned = lambda: pruned


def recall_pruned(method: str, experiment: Experiment, state: RunState, name: str) -> None:
    """Prune again by the plan of a resumed run, when a recovery asks for the model."""

    def again() -> PruningResult:
        finding = _finding(experiment, "pruning", method)
        request = _pruning_request(experiment, state)
        applied = apply_plan(request, plan_of(finding), state.test, state.means)
        return PruningResult(finding, applied)

    state.pruned = cache(again)


def _pruning_request(experiment: Experiment, state: RunState) -> PruningRequest:
    study = state.study
    return PruningRequest(
        study.handle.module, study.graph, state.scores, experiment.seed, study.handle.hints
    )


def _keep_pruned(
    experiment: Experiment,
    study: StudyInputs,
    name: str,
    pruned: PruningResult,
    stage: StageResult,
) -> None:
    """Write the finding of a pruning method, its model, and the plan of kept nodes."""
    stage.result = pruned.finding
    if pruned.model is not None:
        plan = f"pruned/{name}/plan.json"
        experiment.run.write_json(plan, to_stored(kept_nodes(pruned.finding), 1))
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
