"""The map of a run: its stages in their order, and what becomes of one that is complete.

The stage ``model``, which every process does for itself, comes before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.experiments import capturing, recovery_stage, stages

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.experiments.experiment import Experiment
    from nodelens.experiments.run_components import RunComponents
    from nodelens.experiments.run_state import RunState

Step = Callable[["Experiment", "RunState", str], None]
"""Work of the stage of the given name; results that later stages need go into the state."""


def _nothing(experiment: Experiment, state: RunState, name: str) -> None:
    """Do nothing: no later stage needs the result."""


@frozen
class Stage:
    """A stage by its name in ``run.json``.

    `perform` does the work. `recall` brings back what later stages need of it, in a resumed run
    that has completed the stage before.
    """

    name: str
    perform: Step
    recall: Step = _nothing


def preparing_stages(config: RunConfig) -> Iterator[Stage]:
    """Yield the stages that change the model."""
    if config.training is not None:
        yield Stage("training", stages.train_model, stages.recall_weights)


def scoring_stages(config: RunConfig) -> Iterator[Stage]:
    """Yield the stages from the model to the scores."""
    yield Stage("evaluation", stages.evaluate_model, stages.evaluate_on_demand)
    for part in config.evaluations:
        yield Stage(f"evaluations.{part.result_name}", partial(stages.run_evaluation, part))
    yield Stage("capture", capturing.capture_statistics, capturing.recall_statistics)
    yield Stage("scores", stages.score_nodes, stages.recall_scores)


def testing_stages(config: RunConfig, chosen: RunComponents) -> Iterator[Stage]:
    """Yield the stages that analyse and test the scores; a model is recovered once it is pruned."""
    for part in config.analyses:
        yield Stage(f"analyses.{part.result_name}", partial(stages.analyse_scores, part))
    for part in config.interventions:
        yield Stage(f"interventions.{part.result_name}", partial(stages.intervene, part))
    for method in chosen.pruners:
        prune, recall = partial(stages.prune_model, method), partial(stages.recall_pruned, method)
        yield Stage(f"pruning.{method}", prune, recall)
        for label in chosen.recoveries:
            recover = partial(recovery_stage.recover_model, method, label)
            yield Stage(f"recovery.{method}.{label}", recover)


def run_stages(experiment: Experiment, state: RunState, found: Iterable[Stage]) -> None:
    """Perform every stage that is not complete, and recall the others."""
    for stage in found:
        complete = stage.name in experiment.completed_stages
        step = stage.recall if complete else stage.perform
        step(experiment, state, stage.name)
