"""One attempt at a removal: slice, let integers follow, compare, and run what is handed back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from nodelens.channels.rules.table import operator_table
from nodelens.removal.adjustments import AttributeRule
from nodelens.removal.as_used import trouble_as_used
from nodelens.removal.attribute_hints import AttributeHint, Hinted, hinted
from nodelens.removal.attributes import update_attributes
from nodelens.removal.bias_repair import bias_repair
from nodelens.removal.caches import empty_caches
from nodelens.removal.double_precision import own_tolerance
from nodelens.removal.equivalence import (
    References,
    RemovalCase,
    Trouble,
    comparing,
    references,
)
from nodelens.removal.equivalence_result import EquivalenceResult
from nodelens.removal.optimizer_state import slice_optimizer
from nodelens.removal.own_saving import mark_saving
from nodelens.removal.parametrised import computed_weights, keep_values
from nodelens.removal.renaming import renaming_notes
from nodelens.removal.search import Search
from nodelens.removal.shrunk_axes import shrunk_axes
from nodelens.removal.slicing import Change, TensorCut, cuts, slice_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from nodelens.channels.groups import ChannelGraph
    from nodelens.removal.forward import Example
    from nodelens.removal.journal import Journal


@frozen(eq=False)
class Request:
    """A model, its groups, the example, and the options of a removal."""

    model: nn.Module
    graph: ChannelGraph
    example: Example
    optimizer: Optimizer | None = None
    hints: Sequence[AttributeRule | AttributeHint] = ()
    means: Mapping[str, Tensor] | None = None


@frozen(eq=False)
class Performed:
    """A removal that was performed: results per group, the rules that were followed, and notes."""

    verdicts: tuple[EquivalenceResult, ...]
    rules: tuple[AttributeRule | AttributeHint, ...]
    notes: tuple[str, ...]


@frozen(eq=False)
class Refused:
    """A removal that was undone: its case, the trouble that remained, and the settings tried."""

    case: RemovalCase
    trouble: Trouble
    trials: int


def attempt(request: Request, found: Sequence[Change], journal: Journal) -> Performed | Refused:
    """Remove nodes, recording every change in `journal`; where refused, all is undone.

    Caches in plain attributes may hold what the larger model computed. Where they stand in the way,
    the attempt is repeated with empty caches.
    """
    start = journal.mark
    result = _attempt(request, found, journal)
    if isinstance(result, Performed):
        return result
    emptied = empty_caches(request, journal)
    again = _attempt(request, found, journal) if emptied else result
    if isinstance(again, Refused):
        journal.undo(start)
        return result
    note = f"caches were emptied, the next forward fills them: {', '.join(emptied)}"
    return evolve(again, notes=(*again.notes, note))


def _attempt(
    request: Request, found: Sequence[Change], journal: Journal, limits: tuple[str, ...] = ()
) -> Performed | Refused:
    model, start = request.model, journal.mark
    cut = cuts(model, found)
    repair = bias_repair(model, found, cut, request.means)
    table = operator_table(request.graph.operators)
    case = RemovalCase(model, request.graph, table, found, cut, request.means, repair)
    against = references(case, request.example)
    against = evolve(against, limits=(*against.limits, *limits))
    notes = _slice(case, request.optimizer, journal)
    if notes.rounded:
        against = evolve(against, tolerance=own_tolerance(model))
    hints = [hint for hint in request.hints if isinstance(hint, AttributeHint)]
    known = hinted(model, request.graph, found, hints)
    with comparing(model, against):
        search = Search(model, against, journal, shrunk_axes(found, cut), journal.mark)
        rules = [hint for hint in request.hints if isinstance(hint, AttributeRule)]
        remaining = search.run(rules, known.adjustments)
        if remaining is None:
            search.follow_names()
    if remaining is None and not limits:
        remaining = trouble_as_used(model, against)
        if remaining is not None:
            journal.undo(start)
            dense = trouble_as_used(model, against)
            if dense is not None:
                return _attempt(request, found, journal, (f"not run as it is ({dense.reason})",))
    if remaining is not None:
        journal.undo(start)
        return Refused(case, remaining, search.trials)
    mark_saving(model, (name for each in cut for name in each.names), journal)
    followed = tuple(rule for each in search.performed for rule in each.rules)
    return Performed(
        verdicts=_verdicts(case, search.moved, against),
        rules=followed,
        notes=(
            *notes.texts,
            *_hint_notes(known, followed),
            *_precision_note(against),
            *renaming_notes(request.graph, found),
        ),
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


def _precision_note(against: References) -> tuple[str, ...]:
    if against.precise:
        return ()
    return (f"compared in the model's own data type, to {against.tolerance:g} of its outputs",)


def _verdicts(
    case: RemovalCase, moved: float, against: References
) -> tuple[EquivalenceResult, ...]:
    """Return the result of every group: exact, or shifted by the difference of all together.

    Where some groups moved them, the others are exact: see `Reference`. A normalised group that the
    model averages over is never exact: where nothing moved, the inputs do not show its shift.
    """
    shifted = moved > against.tolerance
    return tuple(
        EquivalenceResult(
            group=each.group.name,
            width=each.group.width,
            removed=each.group.width - each.left,
            status="shifted" if why and (shifted or unseen) else "exact",
            difference=moved if why or not shifted else None,
            reason=f"{why}, not seen on these inputs" if unseen else why if shifted else "",
            limits=against.limits,
        )
        for each in case.changes
        for why in [_why_shifted(case, each)]
        for unseen in [each.group.normalised and against.averaged and not shifted]
    )


def _why_shifted(case: RemovalCase, change: Change) -> str:
    """Return why a group may move the outputs; an empty text if it must not."""
    normalised = ["normalised"] if change.group.normalised else []
    read = {site.module for site in change.group.sites}
    padded = any(each.padded and each.path in read for each in case.repair.shifts)
    return ", ".join([*normalised, *(["means at padded borders"] if padded else [])])
