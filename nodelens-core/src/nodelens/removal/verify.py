"""Trial removals, group by group, on a model that is left as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor, nn

from nodelens.errors import ModelError
from nodelens.masks.kept_nodes import Keep, Nodes, kept_nodes
from nodelens.removal.attempt import Request
from nodelens.removal.equivalence_result import EquivalenceResult
from nodelens.removal.forward import Example
from nodelens.removal.journal import Journal
from nodelens.removal.removal import perform_removal
from nodelens.removal.removal_options import check_arguments
from nodelens.renamed_arguments import refuse_earlier_names
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph, ChannelGroup
    from nodelens.removal.adjustments import AttributeRule
    from nodelens.removal.attribute_hints import AttributeHint


def verify(
    model: nn.Module,
    graph: ChannelGraph,
    *args: Any,
    fraction: float = 0.5,
    seed: int = 0,
    keep: Keep | None = None,
    hints: Sequence[AttributeRule | AttributeHint] = (),
    means: Mapping[str, Tensor] | None = None,
    **kwargs: Any,
) -> list[EquivalenceResult]:
    """Return one equivalence result per prunable group: each in turn loses a fraction of its nodes.

    The model is as before afterwards.

    Args:
        model: the model to try removals on.
        graph: the channel groups of the model.
        *args: example inputs, on which the smaller and the masked model are compared.
        fraction: of the nodes of each group, between 0 and 1: so many are removed, at random.
        seed: the seed of the random nodes.
        keep: the nodes to keep by group name, in place of random ones; other groups are left out.
        hints: rules for integer attributes, as for `remove`.
        means: the mean of each node by group name, as for `remove`.
        **kwargs: example inputs by keyword.

    Returns:
        One result per group that was tried, in the order of `keep`, or else of the graph.

    Raises:
        ModelError: for a fraction outside (0, 1).
        ConfigError: for `share`, which `fraction` was called, unless the model has such an input.
    """
    own = signature(model.forward).parameters
    refuse_earlier_names("verify", kwargs.keys() - own, {"share": "fraction"})
    check_arguments(fraction=fraction, seed=seed, hints=hints, means=means)
    if keep is not None:
        check_arguments(keep=keep)
    if not 0 < fraction < 1:
        raise ModelError(f"fraction is that of the nodes removed, between 0 and 1, got {fraction}")
    if keep is None:
        keep = {each.name: random_keep(each, fraction, seed) for each in graph if each.prunable}
    request = Request(model, graph, Example(args, kwargs), None, tuple(hints), means)
    results = []
    for name, kept in keep.items():
        result, rules = _checked(request, graph[name], kept)
        new = tuple(rule for rule in rules if rule not in request.hints)
        request = evolve(request, hints=(*request.hints, *new))
        results.append(result)
    return results


def random_keep(group: ChannelGroup, fraction: float, seed: int) -> list[int]:
    """Return the sorted nodes kept when a random fraction is removed; at least one of either."""
    removed = min(max(round(fraction * group.width), 1), group.width - 1)
    order = torch.randperm(group.width, generator=generator(seed, "verify", group.name))
    return sorted(order[removed:].tolist())


def _checked(
    request: Request, group: ChannelGroup, kept: Nodes
) -> tuple[EquivalenceResult, Sequence[AttributeRule | AttributeHint]]:
    """Try one removal and undo it; return the result, and the attribute rules that were found."""
    journal = Journal()
    try:
        removal = perform_removal(request, {group.name: kept}, journal)
    except ModelError as error:
        reason = str(error).removesuffix("; the model is as before")
        gone = group.width - int(kept_nodes(group, kept).sum())
        return EquivalenceResult(group.name, group.width, gone, "refused", reason=reason), ()
    finally:
        journal.undo()
    if not removal.verdicts:
        return EquivalenceResult(group.name, group.width, 0, "exact", 0.0), ()
    return removal.verdicts[0], removal.rules
