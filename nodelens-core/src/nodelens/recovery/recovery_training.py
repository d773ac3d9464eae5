"""Training of a pruned model by a recovery, and its evaluation on the test samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.training.model_evaluation import EvaluationResult, evaluate

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.interfaces.recovery import Recovered, Recovery, RecoveryRequest
    from nodelens.pruning.apply import AppliedPlan


@frozen(eq=False)
class RecoveryTraining:
    """The result of a recovery, and the evaluations of the dense, pruned and recovered model."""

    recovered: Recovered
    dense: EvaluationResult
    pruned: EvaluationResult
    after: EvaluationResult


def recover_and_evaluate(
    recovery: Recovery,
    request: RecoveryRequest,
    batches: Sequence[Batch],
    dense: EvaluationResult,
    pruned: EvaluationResult,
) -> RecoveryTraining:
    """Train the request's model in place and evaluate it, under its masks where there are any.

    `dense` and `pruned` are the evaluations of the model before pruning and before the recovery,
    on the same `batches`.
    """
    recovered = recovery.recover(request)
    with request.masked(request.model):
        after = evaluate(request.model, batches)
    return RecoveryTraining(recovered, dense, pruned, after)


def obstacle(carried: AppliedPlan) -> str | None:
    """Return the reason why a pruned model cannot be trained; None where it can."""
    for name in carried.refused:
        sites = [site for site in carried.graph[name].sites if site.point == "activation"]
        if any(site.end == "operand" for site in sites):
            return (
                f"the nodes of {name} are only masked, where a module multiplies with weights of "
                "its own, and no gradient passes such a mask; protect them to recover the rest"
            )
    return None
