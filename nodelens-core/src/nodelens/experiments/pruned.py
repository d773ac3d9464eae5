"""A pruning plan, carried out by removal and evaluated on the test samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import asdict, field, frozen

from nodelens.channels.infer import infer
from nodelens.errors import CaptureError, ModelError, PluginError, did_you_mean
from nodelens.masks import mask
from nodelens.removal.cost import costs
from nodelens.removal.removal import Removal, remove
from nodelens.removal.verify import verify
from nodelens.reports.parts import Cell, Finding, Table
from nodelens.training.estimates import Estimate, ratio
from nodelens.training.evaluation import Evaluation, evaluate, paired

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.experiments.pruning import Pruner, PruningPlan, PruningRequest
    from nodelens.removal.verdicts import Verdict


@frozen(eq=False)
class Pruned:
    """What pruning found, and the smaller model; None where the nodes could only be masked."""

    finding: Finding
    model: nn.Module | None


@frozen(eq=False)
class _Carried:
    """How a plan was carried out: what was removed, and which groups were only masked, and why."""

    evaluation: Evaluation
    model: nn.Module | None = None
    removal: Removal | None = None
    refused: Mapping[str, str] = field(factory=dict)


def prune_and_evaluate(
    label: str,
    pruner: Pruner,
    request: PruningRequest,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor],
    dense: Evaluation,
) -> Pruned:
    """Return what a method removes and what that does to the model; the model stays as it was.

    The nodes are removed from a copy, and the copy is compared with the masked model and evaluated.
    Groups whose removal is refused are masked instead, and the finding says why. `dense` is the
    evaluation of the whole model on the same `batches`. Raises `PluginError` for a plan that cannot
    be carried out, `CaptureError` if it needs means that were not captured.
    """
    plan = pruner.plan(request)
    check_plan(label, plan, request.graph)
    _check_means(label, plan, means)
    carried = _carry_out(request, plan, batches, means)
    change = Estimate(*paired(carried.evaluation, dense))
    gain = _accuracy_change(carried.evaluation, dense)
    width = {group.name: group.width for group in request.graph if group.prunable}
    removed = sum(width[name] - len(nodes) for name, nodes in plan.keep.items())
    sizes = _sizes(request, carried, batches[0])
    finding = Finding(
        kind="pruning",
        name=label,
        title=f"Pruning: {label}",
        headline=(
            _damage(label, removed, sum(width.values()), carried.evaluation, change, gain, dense),
            _outcome(carried, sizes),
        ),
        warnings=tuple(_warnings(plan, request.graph, carried)),
        tables=(
            _result_table(label, dense, carried.evaluation, change, gain, sizes),
            _group_table(label, plan, width, carried),
            *_note_table(label, plan, carried),
        ),
        data={
            **plan.data,
            "removed_nodes": removed,
            "prunable_nodes": sum(width.values()),
            "replace": plan.replace,
            "carried_out": "removal" if carried.removal else "masks",
            "refused": dict(carried.refused),
            "verdicts": [asdict(each) for each in carried.removal.verdicts]
            if carried.removal
            else [],
            "kept": {name: list(nodes) for name, nodes in plan.keep.items()},
            **{name: list(pair) for name, pair in sizes.items()},
            "loss": [dense.loss_estimate.finite(), carried.evaluation.loss_estimate.finite()],
            "loss_change": [change.finite(), change.finite_se()],
            **_perplexities(dense, carried.evaluation),
            "accuracy": [dense.accuracy, carried.evaluation.accuracy],
            "accuracy_change": None if gain is None else [gain.finite(), gain.finite_se()],
        },
    )
    return Pruned(finding, carried.model)


def _carry_out(
    request: PruningRequest,
    plan: PruningPlan,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor],
) -> _Carried:
    """Remove from a copy what can be removed, mask the rest; evaluate what comes out.

    Where the plan puts means in place of nodes, the biases of their readers take these in.
    """
    filled = means if plan.replace == "mean" else None
    model, example = copy.deepcopy(request.model), batches[0]
    options = {"hints": request.hints, "means": filled, **example.kwargs}
    try:
        removal = remove(model, request.graph, plan.keep, *example.args, **options)
    except ModelError as error:
        return _carry_out_partly(request, plan, batches, filled, str(error))
    return _Carried(evaluate(model, batches), model, removal)


def _carry_out_partly(
    request: PruningRequest,
    plan: PruningPlan,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor] | None,
    refusal: str,
) -> _Carried:
    """Remove the groups that can be removed each by itself, and mask the others."""
    model, example = copy.deepcopy(request.model), batches[0]
    options = {"hints": request.hints, "means": means, **example.kwargs}
    tried = verify(model, request.graph, *example.args, keep=plan.keep, **options)
    refused = {each.group: each.reason for each in tried if each.status == "refused"}
    removable = {name: nodes for name, nodes in plan.keep.items() if name not in refused}
    try:
        removal = remove(model, request.graph, removable, *example.args, **options)
    except ModelError:
        removal, refused = None, dict.fromkeys(plan.keep, refusal)
    left = request.graph if removal is None else infer(model, *example.args, **example.kwargs)
    with mask(model, left, {name: plan.keep[name] for name in refused}, plan.replace, means):
        evaluation = evaluate(model, batches)
    return _Carried(evaluation, None if removal is None else model, removal, refused)


def _sizes(
    request: PruningRequest, carried: _Carried, batch: Batch
) -> dict[str, tuple[int | None, int | None]]:
    """Return parameters, and multiply-accumulates per sample, before and after."""
    found = []
    for model in (request.model, carried.model or request.model):
        graph = (
            request.graph if model is request.model else infer(model, *batch.args, **batch.kwargs)
        )
        found.append(costs(model, graph, *batch.args, **batch.kwargs).model)
    macs = [None if cost.macs is None else cost.macs // batch.rows for cost in found]
    return {
        "parameters": (found[0].parameters, found[1].parameters),
        "macs_per_sample": (macs[0], macs[1]),
    }


def check_plan(label: str, plan: PruningPlan, graph: ChannelGraph) -> None:
    """Raise `PluginError` for the first thing in a plan that cannot be carried out."""
    for problem in _problems(plan, graph):
        raise PluginError(
            f"pruning method {label!r} made a plan that cannot be carried out: {problem}"
        )


def _problems(plan: PruningPlan, graph: ChannelGraph) -> Iterator[str]:
    groups = {group.name: group for group in graph}
    for name, nodes in plan.keep.items():
        if name not in groups:
            yield f"no channel group is called {name!r}{did_you_mean(name, groups)}"
        elif groups[name].frozen is not None:
            yield f"{name} cannot be pruned: {groups[name].frozen}"
        elif not nodes:
            yield f"{name}: no node stays; at least one has to"
        elif list(nodes) != sorted(set(nodes)) or nodes[0] < 0 or nodes[-1] >= groups[name].width:
            yield f"{name}: expected sorted nodes from 0 to {groups[name].width - 1}, got {nodes}"


def _check_means(label: str, plan: PruningPlan, means: Mapping[str, torch.Tensor]) -> None:
    missing = [name for name in plan.keep if name not in means]
    if plan.replace == "mean" and missing:
        raise CaptureError(
            f"pruning method {label!r} puts means in place of removed nodes, but the means of "
            f"{', '.join(missing)} were not captured; add a metric of activations, or choose a "
            "repair that needs no means"
        )


def _accuracy_change(pruned: Evaluation, dense: Evaluation) -> Estimate | None:
    if pruned.correct is None or dense.correct is None:
        return None
    return ratio(pruned.correct.astype(float) - dense.correct.astype(float), dense.counts)


def _damage(
    label: str,
    removed: int,
    prunable: int,
    pruned: Evaluation,
    change: Estimate,
    gain: Estimate | None,
    dense: Evaluation,
) -> str:
    share = f"{removed} of {prunable} prunable nodes ({100 * removed / max(prunable, 1):.0f} %)"
    loss = f"loss {_signed(change, '.4f')} nats"
    if gain is None or pruned.accuracy is None:
        before, after = (each.perplexity_estimate.text(".4g") for each in (dense, pruned))
        return f"{label} removes {share}: {loss}, perplexity {before} → {after}"
    return (
        f"{label} removes {share}: {loss}, accuracy {pruned.accuracy:.3f} ({_signed(gain, '.3f')})"
    )


def _outcome(carried: _Carried, sizes: Mapping[str, tuple[int | None, int | None]]) -> str:
    """Say how much smaller the model is, and whether it computes what the masked model computes."""
    if carried.removal is None:
        return f"the nodes are masked, not removed: {next(iter(carried.refused.values()), '')}"
    names = {"parameters": "parameters", "macs_per_sample": "multiply-accumulates"}
    shrunk = [
        f"{before:,} → {after:,} {names[name]} (-{100 * (1 - after / before):.0f} %)"
        for name, (before, after) in sizes.items()
        if before and after is not None
    ]
    return "; ".join([*shrunk, _exactness(carried.removal.verdicts)])


def _exactness(verdicts: Sequence[Verdict]) -> str:
    reasons = sorted({each.reason for each in verdicts if each.status == "shifted"})
    if reasons:
        return f"removal shifts the outputs ({', '.join(reasons)})"
    return "removal is exact" if verdicts else "nothing was removed"


def _signed(change: Estimate, form: str) -> str:
    return f"{'+' if change.value >= 0 else ''}{change.text(form)}"


def _warnings(plan: PruningPlan, graph: ChannelGraph, carried: _Carried) -> Iterator[str]:
    """Yield why nothing was removed, and the notes that are not on groups nothing could prune."""
    for name, reason in carried.refused.items():
        yield f"the nodes of {name} are masked, not removed: {reason}"
    frozen = tuple(f"{group.name} " for group in graph if not group.prunable)
    yield from (note for note in plan.notes if not note.startswith(frozen))


def _note_table(label: str, plan: PruningPlan, carried: _Carried) -> Iterator[Table]:
    notes = (*plan.notes, *(carried.removal.notes if carried.removal else ()))
    if notes:
        rows = tuple((note,) for note in notes)
        yield Table(f"{label}_notes", f"{label}: notes", ("note",), rows)


def _result_table(
    label: str,
    dense: Evaluation,
    pruned: Evaluation,
    change: Estimate,
    gain: Estimate | None,
    sizes: Mapping[str, tuple[int | None, int | None]],
) -> Table:
    losses = (dense.loss_estimate.finite(), pruned.loss_estimate.finite())
    rows: list[tuple[Cell, ...]] = [
        ("loss in nats", *losses, change.finite(), change.finite_se()),
    ]
    if gain is not None:
        accuracies = (dense.accuracy, pruned.accuracy)
        rows.append(("accuracy", *accuracies, gain.finite(), gain.finite_se()))
    else:
        perplexities = _perplexities(dense, pruned)["perplexity"]
        rows.append(("perplexity", *perplexities, _difference(*perplexities), None))
    for name, (before, after) in sizes.items():
        difference = _difference(before, after)
        rows.append((name.replace("_", " "), before, after, difference, None))
    note = "se: standard error of the paired difference on the same samples."
    columns = ("measure", "before", "after", "change", "se")
    return Table(f"{label}_result", f"{label}: before and after", columns, tuple(rows), note)


def _perplexities(dense: Evaluation, pruned: Evaluation) -> dict[str, list[float | None]]:
    """Return the perplexity before and after where rows have more than one label."""
    if dense.correct is not None:
        return {}
    return {"perplexity": [each.perplexity_estimate.finite() for each in (dense, pruned)]}


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _group_table(
    label: str, plan: PruningPlan, width: Mapping[str, int], carried: _Carried
) -> Table:
    """Return nodes before and after, and the verdict of the comparison with the masked model."""
    verdicts = {each.group: each for each in carried.removal.verdicts} if carried.removal else {}
    rows = []
    for name, whole in width.items():
        kept = len(plan.keep.get(name, range(whole)))
        said = _verdict_text(verdicts.get(name), kept < whole)
        rows.append((name, whole, kept, 1 - kept / whole, said))
    columns = ("group", "nodes", "kept", "sparsity", "removed against masked")
    note = "Groups that can be pruned; the notes say what stays whole and why."
    return Table(f"{label}_groups", f"{label}: nodes kept", columns, tuple(rows), note)


def _verdict_text(verdict: Verdict | None, asked: bool) -> str:
    if verdict is None:
        return "masked only" if asked else "whole"
    return verdict.finding
