"""Checks of a pruning plan before it is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nodelens.errors import CaptureError, PluginError, did_you_mean

if TYPE_CHECKING:
    import torch

    from nodelens.channels.groups import ChannelGraph
    from nodelens.interfaces.pruner import PruningPlan


def check_plan(label: str, plan: PruningPlan, graph: ChannelGraph) -> None:
    """Raise `PluginError` for the first group of a plan that cannot be pruned as planned."""
    for problem in _problems(plan, graph):
        raise PluginError(f"pruning method {label!r} made a plan that cannot be applied: {problem}")


def _problems(plan: PruningPlan, graph: ChannelGraph) -> Iterator[str]:
    groups = {group.name: group for group in graph}
    for name, nodes in plan.keep.items():
        if name not in groups:
            yield f"no channel group is called {name!r}{did_you_mean(name, groups)}"
        elif groups[name].frozen is not None:
            yield f"{name} cannot be pruned: {groups[name].frozen}"
        elif not nodes:
            yield f"{name}: no node is kept; at least one has to be"
        elif list(nodes) != sorted(set(nodes)) or nodes[0] < 0 or nodes[-1] >= groups[name].width:
            yield f"{name}: expected sorted nodes from 0 to {groups[name].width - 1}, got {nodes}"


def check_means(label: str, plan: PruningPlan, means: Mapping[str, torch.Tensor]) -> None:
    """Raise `CaptureError` for a plan that needs means of groups that were not captured."""
    missing = [name for name in plan.keep if name not in means]
    if plan.replace == "mean" and missing:
        raise CaptureError(
            f"pruning method {label!r} replaces nodes by their means, but the means of "
            f"{', '.join(missing)} were not captured; add a metric of activations, or choose a "
            "repair that needs no means"
        )
