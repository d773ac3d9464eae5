"""Exact removal of nodes: all or nothing, checked against the masked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.channels.rules.table import operator_table
from nodelens.errors import ModelError
from nodelens.removal.adjustments import AttributeRule
from nodelens.removal.attribute_hints import AttributeHint, Hinted, hinted
from nodelens.removal.attributes import update_attributes
from nodelens.removal.bias_repair import bias_repair
from nodelens.removal.double_precision import own_tolerance
from nodelens.removal.equivalence import (
    References,
    RemovalCase,
    Trouble,
    comparing,
    references,
)
from nodelens.removal.equivalence_result import EquivalenceResult
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal, undone_on_error
from nodelens.removal.optimizer_state import slice_optimizer
from nodelens.removal.parametrised import computed_weights, keep_values
from nodelens.removal.refusals import Blame, refusal
from nodelens.removal.removal_options import check_arguments
from nodelens.removal.renaming import renaming_notes
from nodelens.removal.search import Search
from nodelens.removal.shrunk_axes import shrunk_axes
from nodelens.removal.slicing import (
    Change,
    TensorCut,
    changes,
    cuts,
    slice_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from nodelens.channels.groups import ChannelGraph

ONE_HEAD_SIZE = (
    "no integer of the model sets the size of a head for values apart from queries and keys"
)


@frozen(eq=False)
class Removal:
    """The result of a removal: the kept nodes, the equivalence check, and the attributes set.

    `keep` maps each group that lost nodes to the indices kept. `verdicts` compare the smaller with
    the masked model, one result per group. `rules` are the integer attributes that were found to
    follow, usable as hints. `parameters` counts the model's parameters before and after. The graph
    of the old model does not describe the smaller one: infer again.
    """

    keep: Mapping[str, tuple[int, ...]]
    verdicts: tuple[EquivalenceResult, ...]
    rules: tuple[AttributeRule | AttributeHint, ...]
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
    *args: Any,
    optimizer: Optimizer | None = None,
    hints: Sequence[AttributeRule | AttributeHint] = (),
    means: Mapping[str, Tensor] | None = None,
    **kwargs: Any,
) -> Removal:
    """Remove the nodes that are not in `keep` from `model`, or change nothing at all.

    The smaller model must compute the outputs of the masked model: on the example inputs, on others
    made from them and in training, in float64 where the model's code allows it. Parameter objects
    are kept, so that ties and optimizers hold. Attributes of standard modules follow by a table,
    other integers by `hints`, then by search.

    Args:
        model: the model, changed in place.
        graph: the channel groups of the model.
        keep: the nodes to keep by group name, as indices or as a bool tensor ``(nodes,)``; groups
            that are not named are kept whole.
        *args: example inputs of the model.
        optimizer: an optimizer of the model, whose state is sliced too.
        hints: rules for integer attributes, tried before the search.
        means: the mean of each node by group name, ``(nodes,)``; the biases of the readers are
            repaired with them, as if the nodes were masked by their means.
        **kwargs: example inputs of the model by keyword.

    Returns:
        The kept nodes, one result of the equivalence check per group, and notes.

    Raises:
        UnknownNameError: for unknown groups.
        ModelError: for frozen groups, for indices out of range, and where the smaller model does
            not run or does not agree. The model, its gradients and the optimizer are then exactly
            as before.
    """
    check_arguments(keep=keep, optimizer=optimizer, hints=hints, means=means)
    journal = Journal()
    with undone_on_error(journal):
        return perform_removal(
            model,
            graph,
            keep,
            Example(args, kwargs),
            journal,
            optimizer=optimizer,
            hints=hints,
            means=means,
        )


def perform_removal(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Mapping[str, Sequence[int] | Tensor],
    example: Example,
    journal: Journal,
    *,
    optimizer: Optimizer | None = None,
    hints: Sequence[AttributeRule | AttributeHint] = (),
    means: Mapping[str, Tensor] | None = None,
) -> Removal:
    """Remove nodes and record every change in `journal`, by which the caller can undo them."""
    found = changes(graph, keep)
    before = _parameters(model)
    if not found:
        return Removal({}, (), (), ("every node is kept: nothing was removed",), (before, before))
    cut = cuts(model, found)
    repair = bias_repair(model, found, cut, means)
    table = operator_table(graph.operators)
    case = RemovalCase(model, graph, table, found, cut, means, repair)
    against = references(case, example)
    start = journal.mark
    notes = _slice(case, optimizer, journal)
    if notes.rounded:
        against = evolve(against, tolerance=own_tolerance(model))
    known = hinted(model, graph, found, [h for h in hints if isinstance(h, AttributeHint)])
    with comparing(model, against):
        search = Search(model, against, journal, shrunk_axes(found, cut), journal.mark)
        rules = [hint for hint in hints if isinstance(hint, AttributeRule)]
        remaining = search.run(rules, known.adjustments)
        if remaining is None:
            search.follow_names()
    if remaining is not None:
        journal.undo(start)
        blame = _blame(case, example, remaining)
        raise ModelError(refusal(case, blame, remaining, search.trials))
    followed = tuple(rule for each in search.performed for rule in each.rules)
    return Removal(
        keep={each.group.name: _indices(each) for each in found},
        verdicts=_verdicts(case, search.moved, against),
        rules=followed,
        notes=(
            *notes.texts,
            *_hint_notes(known, followed),
            *_precision_note(against),
            *renaming_notes(graph, found),
        ),
        parameters=(before, _parameters(model)),
    )


@frozen
class _Sliced:
    """Notes of slicing the tensors; `rounded` if values were set anew in their own data type."""

    texts: tuple[str, ...]
    rounded: bool


def _slice(case: RemovalCase, optimizer: Optimizer | None, journal: Journal) -> _Sliced:
    """Slice all tensors, the attributes of standard modules and the optimizer's state."""
    model, cut = case.model, case.cuts
    computed = computed_weights(model, cut, TensorCut.applied)
    slice_tensors(cut, journal)
    rounded = keep_values(computed, journal)
    texts = case.repair.perform_removed(journal)
    update_attributes(model, cut, journal)
    if optimizer is not None:
        texts = (*texts, *slice_optimizer(optimizer, cut, journal))
    return _Sliced(texts, rounded or bool(case.repair.shifts))


def _hint_notes(
    known: Hinted, followed: Sequence[AttributeRule | AttributeHint]
) -> tuple[str, ...]:
    hints = [rule for each in known.adjustments for rule in each.rules]
    refused = (
        f"a hint was not followed, the model disagrees with it: {hint}"
        for hint in hints
        if hint not in followed
    )
    return (*known.notes, *refused)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _indices(change: Change) -> tuple[int, ...]:
    return tuple(int(index) for index in change.kept.nonzero().flatten())


def _precision_note(against: References) -> tuple[str, ...]:
    if against.precise:
        return ()
    return (f"compared in the model's own data type, to {against.tolerance:g} of its outputs",)


def _verdicts(
    case: RemovalCase, moved: float, against: References
) -> tuple[EquivalenceResult, ...]:
    """Return the result of every group: exact, or shifted by the difference of all together.

    Where some groups moved them, the others are exact: see `Reference`.
    """
    shifted = moved > against.tolerance
    return tuple(
        EquivalenceResult(
            group=each.group.name,
            width=each.group.width,
            removed=each.group.width - each.left,
            status="shifted" if shifted and why else "exact",
            difference=moved if why or not shifted else None,
            reason=why if shifted else "",
            limits=against.limits,
        )
        for each in case.changes
        for why in [_why_shifted(case, each)]
    )


def _why_shifted(case: RemovalCase, change: Change) -> str:
    """Return why a group may move the outputs; an empty text if it must not."""
    normalised = ["normalised"] if change.group.normalised else []
    read = {site.module for site in change.group.sites}
    padded = any(each.padded and each.path in read for each in case.repair.shifts)
    return ", ".join([*normalised, *(["means at padded borders"] if padded else [])])


def _blame(case: RemovalCase, example: Example, remaining: Trouble) -> Blame:
    found = case.changes
    if len(found) > 1:
        alone = [each for each in found if not _alone(case, each, example)]
        if not alone:
            return Blame(_near(found, remaining.module), "each can be removed alone, not together")
        found = alone
    if all(each.group.kind == "value_dim" for each in found):
        return Blame(found, ONE_HEAD_SIZE)
    return Blame(found if len(case.changes) > 1 else _near(found, remaining.module))


def _alone(case: RemovalCase, change: Change, example: Example) -> bool:
    """Whether one of several groups can be removed without the others."""
    journal, keep = Journal(), {change.group.name: change.kept}
    try:
        perform_removal(case.model, case.graph, keep, example, journal, means=case.means)
    except ModelError:
        return False
    finally:
        journal.undo()
    return True


def _near(found: Sequence[Change], place: str) -> Sequence[Change]:
    """Return the groups with parameters nearest to the module that failed or deviated."""
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
