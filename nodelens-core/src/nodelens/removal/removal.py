"""Exact removal of nodes: all or nothing, checked against the masked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from attrs import field, frozen

from nodelens.errors import ModelError
from nodelens.removal.adjustments import AttributeRule
from nodelens.removal.attempt import Performed, Refused, Request, attempt
from nodelens.removal.attribute_hints import AttributeHint
from nodelens.removal.bias_repair import bias_repair
from nodelens.removal.equivalence_result import EquivalenceResult
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal, undone_on_error
from nodelens.removal.refusals import AS_BEFORE, Blame, refusal
from nodelens.removal.removable import Removable, near, removable
from nodelens.removal.removal_options import check_arguments
from nodelens.removal.slicing import Change, changes, cuts

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from nodelens.channels.groups import ChannelGraph
    from nodelens.masks.kept_nodes import Keep

OnRefusal = Literal["error", "keep"]

ONE_HEAD_SIZE = (
    "no integer of the model sets the size of a head for values apart from queries and keys"
)


@frozen(eq=False)
class Removal:
    """The result of a removal: the kept nodes, the equivalence check, and the attributes set.

    `keep` maps each group that lost nodes to the indices kept. `verdicts` compare the smaller with
    the masked model, one result per group. `rules` are the integer attributes that were found to
    follow, usable as hints. `parameters` counts the model's parameters before and after. `refused`
    are the groups that stayed whole, with the reason. The graph of the old model does not describe
    the smaller one: infer again.
    """

    keep: Mapping[str, tuple[int, ...]]
    verdicts: tuple[EquivalenceResult, ...]
    rules: tuple[AttributeRule | AttributeHint, ...]
    notes: tuple[str, ...]
    parameters: tuple[int, int]
    refused: Mapping[str, str] = field(factory=dict)

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [f"{before} parameters -> {after}", *map(str, self.verdicts)]
        lines += [f"{name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join([*lines, *map(str, self.rules), *self.notes])


def remove(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Keep,
    *args: Any,
    optimizer: Optimizer | None = None,
    hints: Sequence[AttributeRule | AttributeHint] = (),
    means: Mapping[str, Tensor] | None = None,
    refused: OnRefusal = "error",
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
        means: the mean of each node by group name, ``(nodes,)``, or of each of its components,
            ``(nodes, components)``; the biases of the readers are repaired with them, as if the
            nodes were masked by their means.
        refused: what happens to groups whose nodes cannot be removed: an ``error``, or these groups
            ``keep`` all their nodes, and those of the others are removed and checked together.
        **kwargs: example inputs of the model by keyword.

    Returns:
        The kept nodes, one result of the equivalence check per group, notes, and what was refused.

    Raises:
        UnknownNameError: for unknown groups.
        ModelError: for frozen groups, for indices out of range, and where the smaller model does
            not run or does not agree. The model, its gradients and the optimizer are then exactly
            as before.
    """
    check_arguments(keep=keep, optimizer=optimizer, hints=hints, means=means, refused=refused)
    if refused not in get_args(OnRefusal):
        raise ModelError(f"refused must be 'error' or 'keep', got {refused!r}")
    request = Request(model, graph, Example(args, kwargs), optimizer, hints, means)
    journal = Journal()
    with undone_on_error(journal):
        return perform_removal(request, keep, journal, refused)


def perform_removal(
    request: Request, keep: Keep, journal: Journal, refused: OnRefusal = "error"
) -> Removal:
    """Remove nodes and record every change in `journal`, by which the caller can undo them."""
    found = changes(request.graph, keep)
    before = _parameters(request.model)
    if not found:
        return Removal({}, (), (), ("every node is kept: nothing was removed",), (before, before))
    reasons = _unrepaired(request, found) if refused == "keep" else {}
    found = [each for each in found if each.group.name not in reasons]
    result = attempt(request, found, journal) if found else _NOTHING
    if isinstance(result, Refused):
        most = removable(request, found, result) if len(found) > 1 else Removable((), {})
        if refused == "error":
            raise ModelError(refusal(result, _blame(request, result, most)))
        reasons |= _reasons(found, result, most)
        found = list(most.changes)
        result = attempt(request, found, journal) if found else _NOTHING
        assert isinstance(result, Performed)
    return Removal(
        keep={each.group.name: _indices(each) for each in found},
        verdicts=result.verdicts,
        rules=result.rules,
        notes=result.notes,
        parameters=(before, _parameters(request.model)),
        refused=reasons,
    )


_NOTHING = Performed((), (), ("all was refused: nothing was removed",))


def _unrepaired(request: Request, found: Sequence[Change]) -> dict[str, str]:
    """Return the groups whose means no bias of a reader can take in, and why."""
    reasons = {}
    for each in found if request.means is not None else ():
        try:
            bias_repair(request.model, [each], cuts(request.model, [each]), request.means)
        except ModelError as error:
            reasons[each.group.name] = str(error)
    return reasons


def _reasons(found: Sequence[Change], first: Refused, most: Removable) -> dict[str, str]:
    """Return why each group was refused, in words, in the order in which they were given."""
    reasons = {}
    for each in found:
        if each not in most.changes:
            why = most.refused.get(each.group.name, first)
            text = refusal(why, Blame([each], _plain([each])))
            reasons[each.group.name] = text.removesuffix(f"; {AS_BEFORE}")
    return reasons


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _indices(change: Change) -> tuple[int, ...]:
    return tuple(int(index) for index in change.kept.nonzero().flatten())


def _blame(request: Request, refused: Refused, most: Removable) -> Blame:
    """Return the groups that a removal is refused for."""
    found, place = refused.case.changes, refused.trouble.module
    if len(found) == 1:
        return Blame(found, _plain(found))
    bad = [each for each in found if each not in most.changes]
    if len(bad) == 1 and _alone(request, bad[0]):
        return Blame(near(found, place), "each can be removed alone, not together")
    return Blame(bad, _plain(bad))


def _plain(found: Sequence[Change]) -> str:
    return ONE_HEAD_SIZE if all(each.group.kind == "value_dim" for each in found) else ""


def _alone(request: Request, change: Change) -> bool:
    """Whether one of several groups can be removed without the others."""
    journal = Journal()
    with undone_on_error(journal):
        result = attempt(request, [change], journal)
        journal.undo()
    return isinstance(result, Performed)
