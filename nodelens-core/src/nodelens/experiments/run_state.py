"""What the stages of a run hand on to later ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch
    from nodelens.capture.plan.budgeted_plan import Planned
    from nodelens.capture.result import Capture
    from nodelens.experiments.run_components import RunComponents
    from nodelens.experiments.setup import StudyInputs
    from nodelens.pruning.apply import PruningResult
    from nodelens.scoring.scores import Scores
    from nodelens.training.model_evaluation import EvaluationResult


@define(eq=False)
class RunState:
    """The inputs of a run, and the results of its stages as they come.

    `means` are the mean activations of nodes by group, ``(nodes,)`` each. `dense` gives the
    evaluation of the dense model, `pruned` the model of the last pruning stage; a resumed run makes
    these two when they are asked for.
    """

    chosen: RunComponents
    study: StudyInputs
    planned: Planned
    test: list[Batch] = field(init=False)
    dense: Callable[[], EvaluationResult] = field(init=False)
    capture: Capture = field(init=False)
    scores: Scores = field(init=False)
    means: dict[str, Tensor] = field(init=False)
    pruned: Callable[[], PruningResult] = field(init=False)
