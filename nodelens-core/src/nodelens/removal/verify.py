"""Trial removals, group by group, on a model that is left as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nodelens.errors import ModelError
from nodelens.masks.masking import kept_nodes
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
    keep: Mapping[str, Sequence[int] | Tensor] | None = None,
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
        means: the mean of each node by group name, ``(nodes,)``, as for `remove`.
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
    example = Example(args, kwargs)
    rules = list(hints)
    if keep is None:
        keep = {each.name: random_keep(each, fraction, seed) for each in graph if each.prunable}
    return [
        _checked(model, graph, graph[name], kept, example, rules, means)
        for name, kept in keep.items()
    ]


def random_keep(group: ChannelGroup, fraction: float, seed: int) -> list[int]:
    """Return the sorted nodes kept when a random fraction is removed; at least one of either."""
    removed = min(max(round(fraction * group.width), 1), group.width - 1)
    order = torch.randperm(group.width, generator=generator(seed, "verify", group.name))
    return sorted(order[removed:].tolist())


def _checked(
    model: nn.Module,
    graph: ChannelGraph,
    group: ChannelGroup,
    kept: Sequence[int] | Tensor,
    example: Example,
    rules: list[AttributeRule | AttributeHint],
    means: Mapping[str, Tensor] | None,
) -> EquivalenceResult:
    """Try one removal and undo it; attribute rules that were found are added to `rules`."""
    journal = Journal()
    try:
        removal = perform_removal(
            model, graph, {group.name: kept}, example, journal, hints=rules, means=means
        )
    except ModelError as error:
        reason = str(error).removesuffix("; the model is as before")
        gone = group.width - int(kept_nodes(group, kept).sum())
        return EquivalenceResult(group.name, group.width, gone, "refused", reason=reason)
    finally:
        journal.undo()
    rules.extend(rule for rule in removal.rules if rule not in rules)
    if not removal.verdicts:
        return EquivalenceResult(group.name, group.width, 0, "exact", 0.0)
    return removal.verdicts[0]
