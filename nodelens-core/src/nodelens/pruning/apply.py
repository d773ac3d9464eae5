"""Application of a pruning plan: removal from a copy, and evaluation on the test samples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from attrs import field, frozen

from nodelens.errors import ModelError
from nodelens.graph import infer
from nodelens.masks import mask
from nodelens.pruning.plan_checks import check_means, check_plan
from nodelens.removal.cost import costs
from nodelens.removal.removal import Removal, remove
from nodelens.training.model_evaluation import EvaluationResult, evaluate
from nodelens.training.paired_evaluation import PairedEvaluation

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.pruner import Pruner, PruningPlan, PruningRequest


@frozen(eq=False)
class AppliedPlan:
    """A pruning plan that was applied to a copy of the model.

    `model` is the copy, smaller by what `removal` says; with None nothing could be removed.
    `refused` are the groups that could only be masked, and why. `graph` is that of the copy.
    """

    evaluation: EvaluationResult
    model: nn.Module
    graph: ChannelGraph
    plan: PruningPlan
    means: Mapping[str, torch.Tensor] | None
    removal: Removal | None
    refused: Mapping[str, str] = field(factory=dict)

    def masked(self, model: nn.Module) -> AbstractContextManager[None]:
        """Mask, in a model of the same shape, the nodes that could not be removed."""
        if not self.refused:
            return nullcontext()
        keep = {name: self.plan.keep[name] for name in self.refused}
        return mask(model, self.graph, keep, self.plan.replace, self.means)


@frozen(eq=False)
class PruningResult:
    """The finding of a pruning method, and the plan as it was applied."""

    finding: Finding
    carried: AppliedPlan

    @property
    def model(self) -> nn.Module | None:
        """The smaller model; None where the nodes could only be masked."""
        return self.carried.model if self.carried.removal else None


def prune_and_evaluate(
    label: str,
    pruner: Pruner,
    request: PruningRequest,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor],
    dense: EvaluationResult,
) -> PruningResult:
    """Prune a copy of the model by a method and evaluate the copy; the model is not changed.

    The nodes are removed from a copy, and the copy is compared with the masked model and evaluated.
    Groups whose removal is refused are masked instead, and the finding says why. `dense` is the
    evaluation of the whole model on the same `batches`. Raises `PluginError` for a plan that cannot
    be applied, `CaptureError` if it needs means that were not captured.
    """
    from nodelens.pruning.pruning_finding import pruned_finding

    plan = pruner.plan(request)
    check_plan(label, plan, request.graph)
    check_means(label, plan, means)
    carried = apply_plan(request, plan, batches, means)
    compared = PairedEvaluation(dense, carried.evaluation)
    sizes = _sizes(request, carried, batches[0])
    return PruningResult(pruned_finding(label, request.graph, carried, compared, sizes), carried)


def apply_plan(
    request: PruningRequest,
    plan: PruningPlan,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor],
) -> AppliedPlan:
    """Remove nodes from a copy where they can be removed, mask the others, and evaluate.

    Where the plan puts means in place of nodes, the biases of their readers take these in.
    """
    filled = means if plan.replace == "mean" else None
    model = copy.deepcopy(request.model)
    removal, refused = _removed(request, plan, model, batches[0], filled)
    left = _inferred(request, model, batches[0]) if removal and refused else request.graph
    with mask(model, left, {name: plan.keep[name] for name in refused}, plan.replace, filled):
        evaluation = evaluate(model, batches)
    return AppliedPlan(evaluation, model, left, plan, filled, removal, refused)


def _removed(
    request: PruningRequest,
    plan: PruningPlan,
    model: nn.Module,
    example: Batch,
    means: Mapping[str, torch.Tensor] | None,
) -> tuple[Removal | None, Mapping[str, str]]:
    """Remove the nodes of a plan where they can be removed; return why others cannot, by group."""
    options = {"hints": request.hints, "means": means, **example.kwargs}
    try:
        removal = remove(model, request.graph, plan.keep, *example.args, refused="keep", **options)
    except ModelError as error:
        return None, dict.fromkeys(plan.keep, str(error))
    nothing = bool(removal.refused) and not removal.keep
    return None if nothing else removal, removal.refused


def _sizes(
    request: PruningRequest, carried: AppliedPlan, batch: Batch
) -> dict[str, tuple[int | None, int | None]]:
    """Return parameters, and multiply-accumulates per sample, before and after."""
    found = []
    for model in (request.model, carried.model if carried.removal else request.model):
        graph = request.graph if model is request.model else _inferred(request, model, batch)
        found.append(costs(model, graph, *batch.args, **batch.kwargs).model)
    macs = [None if cost.macs is None else cost.macs // batch.rows for cost in found]
    return {
        "parameters": (found[0].parameters, found[1].parameters),
        "macs_per_sample": (macs[0], macs[1]),
    }


def _inferred(request: PruningRequest, model: nn.Module, example: Batch) -> ChannelGraph:
    """Return the groups of the smaller model; operators of plugins are known as before."""
    operators = request.graph.operators
    return infer(model, *example.args, operators=operators, **example.kwargs)
