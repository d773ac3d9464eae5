"""Exact removal of nodes: all or nothing, proved against the masked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from torch import Tensor, nn
from torch.optim import Optimizer

from nodelens.channels.groups import ChannelGraph
from nodelens.errors import ModelError
from nodelens.removal.adjustments import AttributeRule, sources
from nodelens.removal.attributes import update_attributes
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal, undone_on_error
from nodelens.removal.optimizers import slice_optimizer
from nodelens.removal.parametrised import computed_weights, keep_values
from nodelens.removal.proof import (
    Reference,
    Trouble,
    comparing,
    own_tolerance,
    reference,
)
from nodelens.removal.search import Search
from nodelens.removal.slicing import (
    Change,
    Cut,
    changes,
    cuts,
    slice_tensors,
)
from nodelens.removal.verdicts import Verdict


@frozen(eq=False)
class Removal:
    """What was removed, how that compares with the masked model, and what had to follow.

    `keep` maps each group that lost nodes to the indices that stayed. `rules` are the integer
    attributes that were found to follow, usable as hints. `parameters` counts the model's
    parameters before and after. The graph of the old model no longer fits: infer again.
    """

    keep: Mapping[str, tuple[int, ...]]
    verdicts: tuple[Verdict, ...]
    rules: tuple[AttributeRule, ...]
    notes: tuple[str, ...]
    parameters: tuple[int, int]

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [f"{before} parameters -> {after}", *map(str, self.verdicts)]
        return "\n".join([*lines, *map(str, self.rules), *self.notes])


def remove(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Mapping[str, Sequence[int] | Tensor],
    *args: Any,  # noqa: ANN401 - the model's inputs
    optimizer: Optimizer | None = None,
    hints: Sequence[AttributeRule] = (),
    **kwargs: Any,  # noqa: ANN401
) -> Removal:
    """Remove the nodes that are not in `keep` from `model`, or change nothing at all.

    `keep` maps group names to the indices that stay, or to a bool tensor ``(nodes,)``; groups that
    are not named stay whole. `args` and `kwargs` are example inputs: on them the smaller model must
    compute what the masked model computes, in float64 where the model's code allows it. Parameters
    stay the same objects, so ties stay tied and optimizers keep them; the state of `optimizer` is
    sliced too. Attributes of standard modules follow by a table, other integers by `hints`, then by
    search.

    Raises `UnknownNameError` for unknown groups and `ModelError` for frozen groups, for indices
    that do not fit, and where the smaller model does not run or does not agree; the model, its
    gradients and the optimizer are then exactly as before.
    """
    journal = Journal()
    with undone_on_error(journal):
        return perform_removal(
            model, graph, keep, Example(args, kwargs), journal, optimizer=optimizer, hints=hints
        )


def perform_removal(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Mapping[str, Sequence[int] | Tensor],
    example: Example,
    journal: Journal,
    *,
    optimizer: Optimizer | None = None,
    hints: Sequence[AttributeRule] = (),
) -> Removal:
    """Remove nodes through a journal of the caller's, who takes everything back if he wants."""
    found = changes(graph, keep)
    before = _parameters(model)
    if not found:
        return Removal({}, (), (), ("every node stays: nothing was removed",), (before, before))
    cut = cuts(model, found)
    against = reference(model, graph, found, cut, example)
    start = journal.mark
    computed = computed_weights(model, cut, Cut.applied)
    slice_tensors(cut, journal)
    if keep_values(computed, journal):
        # Weights that were set anew are rounded to the parameters' own type.
        against = evolve(against, tolerance=own_tolerance(model))
    update_attributes(model, cut, journal)
    notes = slice_optimizer(optimizer, cut, journal) if optimizer else []
    with comparing(model, against):
        search = Search(model, example, against, journal, sources(found, cut), journal.mark)
        remaining = search.run(hints)
        if remaining is None:
            search.follow_names()
            verdicts = _verdicts(found, search.moved, against)
    if remaining is not None:
        journal.undo(start)
        blamed = _blamed(model, graph, found, example) or _near(found, remaining.module)
        raise ModelError(_refusal(blamed, remaining, search.trials))
    return Removal(
        keep={each.group.name: _indices(each) for each in found},
        verdicts=verdicts,
        rules=tuple(each.rule for each in search.performed),
        notes=(*notes, *_precision_note(against)),
        parameters=(before, _parameters(model)),
    )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _indices(change: Change) -> tuple[int, ...]:
    return tuple(int(index) for index in change.kept.nonzero().flatten())


def _precision_note(against: Reference) -> tuple[str, ...]:
    if against.precise:
        return ()
    return (f"compared in the model's own data type, to {against.tolerance:g} of its outputs",)


def _verdicts(found: Sequence[Change], moved: float, against: Reference) -> tuple[Verdict, ...]:
    """Say of every group that it is exact, or by how much all of them together moved the outputs.

    Where a normalised group moved them, the others are exact: see `Reference`.
    """
    shifted = moved > against.tolerance
    return tuple(
        Verdict(
            group=each.group.name,
            width=each.group.width,
            removed=each.group.width - each.left,
            status="shifted" if shifted and each.group.normalised else "exact",
            difference=moved if each.group.normalised or not shifted else None,
        )
        for each in found
    )


def _blamed(
    model: nn.Module, graph: ChannelGraph, found: Sequence[Change], example: Example
) -> list[Change]:
    """Return the groups that cannot be removed even alone, if there are several."""
    return [
        change
        for change in (found if len(found) > 1 else ())
        if not _alone(model, graph, change, example)
    ]


def _alone(model: nn.Module, graph: ChannelGraph, change: Change, example: Example) -> bool:
    journal = Journal()
    try:
        perform_removal(model, graph, {change.group.name: change.kept}, example, journal)
    except ModelError:
        return False
    finally:
        journal.undo()
    return True


def _near(found: Sequence[Change], place: str) -> Sequence[Change]:
    """Return the groups with parameters nearest to where the model went wrong."""
    while place:
        near = [
            change
            for change in found
            if any(part.parameter.startswith(f"{place}.") for part in change.group.slices)
        ]
        if near:
            return near
        place = place.rpartition(".")[0]
    return found


def _refusal(blamed: Sequence[Change], remaining: Trouble, trials: int) -> str:
    groups = ", ".join(each.group.name for each in blamed)
    return (
        f"nodes of {groups} cannot be removed: in {remaining.module or 'the model'}, "
        f"{remaining.reason} ({trials} settings of the model's integers tried); "
        "the model is as before"
    )
