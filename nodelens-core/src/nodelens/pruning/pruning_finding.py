"""The effect of pruning on a model, as sentences, tables and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import asdict, frozen

from nodelens.config.stored_values import restored
from nodelens.findings.finding import Cell, Finding, Table
from nodelens.interfaces.pruner import PruningPlan
from nodelens.training.paired_evaluation import PairedEvaluation, signed
from nodelens.training.references import DISTANCE

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph
    from nodelens.pruning.apply import AppliedPlan
    from nodelens.removal.equivalence_result import EquivalenceResult

Sizes = Mapping[str, tuple[int | None, int | None]]


@frozen
class KeptNodes:
    """The nodes that a method kept, by group, and what stands in place of the others."""

    kept: dict[str, tuple[int, ...]]
    replace: Literal["zero", "mean"]


def pruned_finding(
    label: str, graph: ChannelGraph, carried: AppliedPlan, compared: PairedEvaluation, sizes: Sizes
) -> Finding:
    """Return the removed nodes and their effect as a finding; `graph` is of the dense model."""
    width = {group.name: group.width for group in graph if group.prunable}
    removed = sum(width[name] - len(nodes) for name, nodes in carried.plan.keep.items())
    nodes = f"{removed} of {sum(width.values())} prunable nodes"
    percent = f"{100 * removed / max(sum(width.values()), 1):.0f} %"
    return Finding(
        kind="pruning",
        name=label,
        title=f"Pruning: {label}",
        headline=(
            f"{label} removes {nodes} ({percent}): {_damage(compared)}",
            _outcome(carried, sizes),
        ),
        warnings=tuple(_warnings(carried.plan, graph, carried)),
        tables=(
            _result_table(label, compared, sizes),
            _group_table(label, width, carried),
            *_note_table(label, carried),
        ),
        data={
            **carried.plan.data,
            "removed_nodes": removed,
            "prunable_nodes": sum(width.values()),
            **_data(carried, compared, sizes),
        },
    )


def plan_of(finding: Finding) -> PruningPlan:
    """Return the plan that a finding of pruning reports, without the method's own data."""
    found = kept_nodes(finding)
    return PruningPlan(found.kept, found.replace)


def kept_nodes(finding: Finding) -> KeptNodes:
    """Return the kept nodes of a finding of pruning; raises `RunError` where it was damaged."""
    values = {key: finding.data.get(key) for key in ("kept", "replace")}
    return restored(KeptNodes, values, f"finding {finding.kind}.{finding.name}: data")


def _data(carried: AppliedPlan, compared: PairedEvaluation, sizes: Sizes) -> dict[str, Any]:
    dense, pruned = compared.before, compared.after
    change, gain = compared.loss_change, compared.accuracy_change
    verdicts = carried.removal.verdicts if carried.removal else ()
    return {
        "replace": carried.plan.replace,
        "carried_out": "removal" if carried.removal else "masks",
        "refused": dict(carried.refused),
        "verdicts": [asdict(each) for each in verdicts],
        "kept": {name: list(nodes) for name, nodes in carried.plan.keep.items()},
        **{name: list(pair) for name, pair in sizes.items()},
        "loss": [dense.loss_estimate.finite(), pruned.loss_estimate.finite()],
        "loss_change": [change.finite(), change.finite_se()],
        **_measures(compared),
        "accuracy": [dense.accuracy, pruned.accuracy],
        "accuracy_change": None if gain is None else [gain.finite(), gain.finite_se()],
    }


def _damage(compared: PairedEvaluation) -> str:
    loss = f"loss {signed(compared.loss_change, '.4f')} {compared.before.unit}"
    if compared.before.unit == DISTANCE:
        return f"outputs move by {compared.loss_change.text('.3g')} ({compared.before.unit})"
    gain = compared.accuracy_change
    if gain is None or compared.after.accuracy is None:
        before, after = compared.before.reported, compared.after.reported
        moves = (f"{k} {v.text('.4g')} → {after[k].text('.4g')}" for k, v in before.items())
        return ", ".join([loss, *moves])
    return f"{loss}, accuracy {compared.after.accuracy:.3f} ({signed(gain, '.3f')})"


def _outcome(carried: AppliedPlan, sizes: Sizes) -> str:
    """Return how much smaller the model is, and whether it computes what the masked model does."""
    if carried.removal is None:
        return f"the nodes are masked, not removed: {next(iter(carried.refused.values()), '')}"
    names = {"parameters": "parameters", "macs_per_sample": "multiply-accumulates"}
    shrunk = [
        f"{before:,} → {after:,} {names[name]} (-{100 * (1 - after / before):.0f} %)"
        for name, (before, after) in sizes.items()
        if before and after is not None
    ]
    return "; ".join([*shrunk, _exactness(carried.removal.verdicts)])


def _exactness(verdicts: Sequence[EquivalenceResult]) -> str:
    reasons = sorted({each.reason for each in verdicts if each.status == "shifted"})
    if reasons:
        return f"removal shifts the outputs ({', '.join(reasons)})"
    return "removal is exact" if verdicts else "nothing was removed"


def _warnings(plan: PruningPlan, graph: ChannelGraph, carried: AppliedPlan) -> Iterator[str]:
    """Yield the reasons of masked groups, and the notes about groups that could be pruned."""
    for name, reason in carried.refused.items():
        yield f"the nodes of {name} are masked, not removed: {reason}"
    frozen = tuple(f"{group.name} " for group in graph if not group.prunable)
    yield from (note for note in plan.notes if not note.startswith(frozen))


def _note_table(label: str, carried: AppliedPlan) -> Iterator[Table]:
    notes = (*carried.plan.notes, *(carried.removal.notes if carried.removal else ()))
    if notes:
        rows = tuple((note,) for note in notes)
        yield Table(f"{label}_notes", f"{label}: notes", ("note",), rows)


def _result_table(label: str, compared: PairedEvaluation, sizes: Sizes) -> Table:
    change, gain = compared.loss_change, compared.accuracy_change
    both = (compared.before, compared.after)
    losses = (each.loss_estimate.finite() for each in both)
    rows: list[tuple[Cell, ...]] = [
        (f"loss in {compared.before.unit}", *losses, change.finite(), change.finite_se()),
    ]
    if gain is not None:
        accuracies = (each.accuracy for each in both)
        rows.append(("accuracy", *accuracies, gain.finite(), gain.finite_se()))
    for name, pair in _measures(compared).items():
        rows.append((name, *pair, _difference(*pair), None))
    for name, (before, after) in sizes.items():
        difference = _difference(before, after)
        rows.append((name.replace("_", " "), before, after, difference, None))
    note = "se: standard error of the paired difference on the same samples."
    columns = ("measure", "before", "after", "change", "se")
    return Table(f"{label}_result", f"{label}: before and after", columns, tuple(rows), note)


def _measures(compared: PairedEvaluation) -> dict[str, list[float | None]]:
    """Return what is reported beside the loss, before and after, but for the accuracy of rows."""
    if compared.accuracy_change is not None:
        return {}
    before, after = compared.before.reported, compared.after.reported
    return {name: [each.finite(), after[name].finite()] for name, each in before.items()}


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _group_table(label: str, width: Mapping[str, int], carried: AppliedPlan) -> Table:
    """Return the table of nodes before and after, with the equivalence to the masked model."""
    verdicts = {each.group: each for each in carried.removal.verdicts} if carried.removal else {}
    rows = []
    for name, whole in width.items():
        kept = len(carried.plan.keep.get(name, range(whole)))
        said = _verdict_text(verdicts.get(name), kept < whole)
        rows.append((name, whole, kept, 1 - kept / whole, said))
    columns = ("group", "nodes", "kept", "sparsity", "removed against masked")
    note = "Groups that can be pruned; the notes say which are kept whole and why."
    return Table(f"{label}_groups", f"{label}: nodes kept", columns, tuple(rows), note)


def _verdict_text(verdict: EquivalenceResult | None, asked: bool) -> str:
    if verdict is None:
        return "masked only" if asked else "whole"
    return verdict.finding
