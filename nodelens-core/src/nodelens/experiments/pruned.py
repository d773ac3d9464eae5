"""A pruning plan, carried out by masks and evaluated on the test samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nodelens.errors import CaptureError, PluginError, did_you_mean
from nodelens.masks import mask
from nodelens.reports.parts import Cell, Finding, Table
from nodelens.training.estimates import Estimate, ratio
from nodelens.training.evaluation import Evaluation, evaluate, paired

if TYPE_CHECKING:
    import torch

    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.experiments.pruning import Pruner, PruningPlan, PruningRequest

_MASKED = "nodes are masked, not yet removed: size and speed of the model are unchanged"


def prune_and_evaluate(
    label: str,
    pruner: Pruner,
    request: PruningRequest,
    batches: Sequence[Batch],
    means: Mapping[str, torch.Tensor],
    dense: Evaluation,
) -> Finding:
    """Return what a method removes and what that does to the model; the model stays as it was.

    `dense` is the evaluation of the whole model on the same `batches`. Raises `PluginError` for a
    plan that cannot be carried out, `CaptureError` if it needs means that were not captured.
    """
    plan = pruner.plan(request)
    check_plan(label, plan, request.graph)
    _check_means(label, plan, means)
    with mask(request.model, request.graph, plan.keep, plan.replace, means):
        pruned = evaluate(request.model, batches)
    change = Estimate(*paired(pruned, dense))
    gain = _accuracy_change(pruned, dense)
    width = {group.name: group.width for group in request.graph if group.prunable}
    removed = sum(width[name] - len(nodes) for name, nodes in plan.keep.items())
    return Finding(
        kind="pruning",
        name=label,
        title=f"Pruning: {label}",
        headline=tuple(_headline(label, removed, sum(width.values()), pruned, change, gain)),
        warnings=tuple(_warnings(plan, request.graph)),
        tables=(
            _result_table(label, dense, pruned, change, gain),
            _group_table(label, plan, width),
            *_note_table(label, plan),
        ),
        data={
            **plan.data,
            "removed_nodes": removed,
            "prunable_nodes": sum(width.values()),
            "replace": plan.replace,
            "carried_out": "masks",
            "kept": {name: list(nodes) for name, nodes in plan.keep.items()},
            "loss": [dense.loss_estimate.finite(), pruned.loss_estimate.finite()],
            "loss_change": [change.finite(), change.finite_se()],
            "accuracy": [dense.accuracy, pruned.accuracy],
            "accuracy_change": None if gain is None else [gain.finite(), gain.finite_se()],
        },
    )


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


def _headline(
    label: str,
    removed: int,
    prunable: int,
    pruned: Evaluation,
    change: Estimate,
    gain: Estimate | None,
) -> Iterator[str]:
    share = f"{removed} of {prunable} prunable nodes ({100 * removed / max(prunable, 1):.0f} %)"
    loss = f"loss {_signed(change, '.4f')} nats"
    if gain is None or pruned.accuracy is None:
        yield f"{label} removes {share}: {loss}"
    else:
        accuracy = f"accuracy {pruned.accuracy:.3f} ({_signed(gain, '.3f')})"
        yield f"{label} removes {share}: {loss}, {accuracy}"
    yield _MASKED


def _signed(change: Estimate, form: str) -> str:
    return f"{'+' if change.value >= 0 else ''}{change.text(form)}"


def _warnings(plan: PruningPlan, graph: ChannelGraph) -> Iterator[str]:
    """Yield the notes but for those on groups that no method could prune, which are only listed."""
    frozen = tuple(f"{group.name} " for group in graph if not group.prunable)
    yield from (note for note in plan.notes if not note.startswith(frozen))


def _note_table(label: str, plan: PruningPlan) -> Iterator[Table]:
    if plan.notes:
        rows = tuple((note,) for note in plan.notes)
        yield Table(f"{label}_notes", f"{label}: notes", ("note",), rows)


def _result_table(
    label: str, dense: Evaluation, pruned: Evaluation, change: Estimate, gain: Estimate | None
) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            "loss in nats",
            dense.loss_estimate.finite(),
            pruned.loss_estimate.finite(),
            change.finite(),
            change.finite_se(),
        )
    ]
    if gain is not None:
        accuracies = (dense.accuracy, pruned.accuracy)
        rows.append(("accuracy", *accuracies, gain.finite(), gain.finite_se()))
    note = f"se: standard error of the paired difference on the same samples. The {_MASKED}."
    columns = ("measure", "before", "after", "change", "se")
    return Table(f"{label}_result", f"{label}: before and after", columns, tuple(rows), note)


def _group_table(label: str, plan: PruningPlan, width: Mapping[str, int]) -> Table:
    rows = []
    for name, whole in width.items():
        kept = len(plan.keep.get(name, range(whole)))
        rows.append((name, whole, kept, 1 - kept / whole))
    columns = ("group", "nodes", "kept", "sparsity")
    note = "Groups that can be pruned; the notes say what stays whole and why."
    return Table(f"{label}_groups", f"{label}: nodes kept", columns, tuple(rows), note)
