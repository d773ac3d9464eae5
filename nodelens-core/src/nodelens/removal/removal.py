"""Exact removal of nodes: all or nothing, checked against the masked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.errors import ModelError
from nodelens.removal.adjustments import AttributeRule
from nodelens.removal.attempt import Performed, Refused, Request, attempt
from nodelens.removal.attribute_hints import AttributeHint
from nodelens.removal.equivalence_result import EquivalenceResult
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal, undone_on_error
from nodelens.removal.refusals import Blame, refusal
from nodelens.removal.removal_options import check_arguments
from nodelens.removal.slicing import Change, changes

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from nodelens.channels.groups import ChannelGraph
    from nodelens.masks.kept_nodes import Keep

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
    keep: Keep,
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
        keep: the nodes to keep by group name: indices, a slice, or a bool for each node
            ``(nodes,)``; groups that are not named are kept whole.
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
    request = Request(model, graph, Example(args, kwargs), optimizer, hints, means)
    journal = Journal()
    with undone_on_error(journal):
        return perform_removal(request, keep, journal)


def perform_removal(request: Request, keep: Keep, journal: Journal) -> Removal:
    """Remove nodes and record every change in `journal`, by which the caller can undo them."""
    found = changes(request.graph, keep)
    before = _parameters(request.model)
    if not found:
        return Removal({}, (), (), ("every node is kept: nothing was removed",), (before, before))
    result = attempt(request, found, journal)
    if isinstance(result, Refused):
        raise ModelError(refusal(result, _blame(request, result)))
    return Removal(
        keep={each.group.name: _indices(each) for each in found},
        verdicts=result.verdicts,
        rules=result.rules,
        notes=result.notes,
        parameters=(before, _parameters(request.model)),
    )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _indices(change: Change) -> tuple[int, ...]:
    return tuple(int(index) for index in change.kept.nonzero().flatten())


def _blame(request: Request, refused: Refused) -> Blame:
    found, place = refused.case.changes, refused.trouble.module
    if len(found) > 1:
        alone = [each for each in found if not _alone(request, each)]
        if not alone:
            return Blame(_near(found, place), "each can be removed alone, not together")
        found = alone
    if all(each.group.kind == "value_dim" for each in found):
        return Blame(found, ONE_HEAD_SIZE)
    return Blame(found if len(refused.case.changes) > 1 else _near(found, place))


def _alone(request: Request, change: Change) -> bool:
    """Whether one of several groups can be removed without the others."""
    journal = Journal()
    with undone_on_error(journal):
        result = attempt(request, [change], journal)
        journal.undo()
    return isinstance(result, Performed)


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
