"""Pruning plans from scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from nodelens.errors import CaptureError, UnknownNameError, did_you_mean
from nodelens.interfaces.pruner import PruningPlan
from nodelens_pruning.allocation import allocate, rounded, total_removed
from nodelens_pruning.selection import Importances, chance, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nodelens.channels.groups import ChannelGraph, ChannelGroup
    from nodelens.interfaces.pruner import PruningRequest
    from nodelens.scoring.scores import Scores
    from nodelens_pruning.methods import MagnitudePruner, RandomPruner, ScorePruner, TaylorPruner

Rank = Callable[["ChannelGroup"], "NDArray[np.float64] | str"]
"""Gives a group's importances, or the reason for a group without any."""


@frozen
class Budget:
    """Options of all methods: sparsity and its allocation, protected groups, and the repair."""

    sparsity: float
    allocation: Literal["uniform", "global", "standardised"]
    protect: tuple[str, ...]
    repair: Literal["none", "mean_bias"]
    min_nodes: int
    round_to: Mapping[str, int]

    @classmethod
    def of(cls, method: MagnitudePruner | TaylorPruner | RandomPruner | ScorePruner) -> Budget:
        """Return the options of a method."""
        return cls(
            method.sparsity,
            method.allocation,
            method.protect,
            method.repair,
            method.min_nodes,
            method.round_to,
        )


def plan_by_metric(request: PruningRequest, budget: Budget, metric: str) -> PruningPlan:
    """Return the plan that removes the nodes of the lowest importance.

    Groups that the metric does not score are kept whole, with a note. Raises `UnknownNameError` for
    a metric without a direction and patterns without a match, `CaptureError` where no group is
    scored or a score is not finite.
    """

    def rank(group: ChannelGroup) -> NDArray[np.float64] | str:
        if (metric, group.name) in request.scores:
            return request.scores[metric, group.name].importance()
        return _why_unscored(request.scores, metric, group.name)

    return _plan(request, budget, rank, metric)


def plan_at_random(request: PruningRequest, budget: Budget) -> PruningPlan:
    """Return the plan that removes nodes at random."""

    def rank(group: ChannelGroup) -> NDArray[np.float64]:
        return chance(group.width, request.seed, "random", group.name) / group.width

    return _plan(request, budget, rank, None)


def _why_unscored(scores: Scores, metric: str, group: str) -> str:
    if metric in scores.failed:
        return f"{metric} failed: {scores.failed[metric]}"
    return f"{metric}: {scores.skipped.get((metric, group), 'no score')}"


def _plan(request: PruningRequest, budget: Budget, rank: Rank, metric: str | None) -> PruningPlan:
    whole = dict(_unpruned(request.graph, budget.protect))
    importances: dict[str, NDArray[np.float64]] = {}
    for group in request.graph:
        if group.name not in whole:
            found = rank(group)
            if isinstance(found, str):
                whole[group.name] = found
            else:
                importances[group.name] = found
    if not importances:
        raise CaptureError(_nothing(whole))
    counts = allocate(
        importances, budget.sparsity, budget.allocation, budget.min_nodes, request.seed
    )
    widths = {name: len(values) for name, values in importances.items()}
    round_to = _round_to(request.graph, budget.round_to)
    asked, counts = counts, rounded(counts, widths, round_to)
    for name in [name for name in counts if asked[name] and not counts[name]]:
        whole[name] = f"no smaller width that keeps enough is a multiple of {round_to[name]}"
    data = _data(request.graph, importances, counts, budget, metric, whole)
    return PruningPlan(
        keep=select(importances, counts, request.seed),
        replace="mean" if budget.repair == "mean_bias" else "zero",
        notes=tuple(_notes(importances, counts, budget, whole)),
        data=data,
    )


def _nothing(whole: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in whole.items())
    return f"there is nothing to prune: {reasons or 'the model has no channel groups'}"


def _unpruned(graph: ChannelGraph, protect: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the groups that are kept whole with the reason, protected ones last.

    Raises `UnknownNameError` for a pattern that matches no group.
    """
    for group in graph:
        if group.frozen is not None:
            yield group.name, f"cannot be pruned: {group.frozen}"
    for pattern in protect:
        for name in _matching(graph, pattern, "protect"):
            yield name, f"protected by {pattern!r}"


def _round_to(graph: ChannelGraph, round_to: Mapping[str, int]) -> dict[str, int]:
    """Return the divisor of each group's kept nodes; the last matching pattern decides."""
    return {
        name: number
        for pattern, number in round_to.items()
        for name in _matching(graph, pattern, "round_to")
    }


def _matching(graph: ChannelGraph, pattern: str, option: str) -> list[str]:
    """Return the groups that match a pattern; raises `UnknownNameError` without one."""
    names = [group.name for group in graph if fnmatchcase(group.name, pattern)]
    if not names:
        hint = did_you_mean(pattern, [group.name for group in graph])
        raise UnknownNameError(f"{option}: no channel group matches {pattern!r}{hint}")
    return names


def _notes(
    importances: Importances, counts: Mapping[str, int], budget: Budget, whole: Mapping[str, str]
) -> Iterator[str]:
    asked, reached = total_removed(importances, budget.sparsity), sum(counts.values())
    if reached < asked:
        yield (
            f"{reached} nodes are pruned where sparsity {budget.sparsity:g} requests {asked}: "
            f"at least {budget.min_nodes} of every group are kept"
            + (", and multiples as requested" if budget.round_to else "")
        )
    yield from (f"{name} is kept whole; {reason}" for name, reason in whole.items())


def _data(
    graph: ChannelGraph,
    importances: Importances,
    counts: Mapping[str, int],
    budget: Budget,
    metric: str | None,
    whole: Mapping[str, str],
) -> dict[str, Any]:  # Any: JSON values
    """Return the requested and the reached sparsity, in all and by group."""
    eligible = sum(len(values) for values in importances.values())
    prunable = sum(group.width for group in graph if group.prunable)
    removed = sum(counts.values())
    return {
        "metric": metric,
        "allocation": budget.allocation,
        "repair": budget.repair,
        "sparsity_asked": budget.sparsity,
        "sparsity": removed / eligible,
        "sparsity_of_prunable": removed / prunable,
        "removed": removed,
        "eligible": eligible,
        "prunable": prunable,
        "groups": {
            name: {"width": len(values), "removed": counts[name]}
            for name, values in importances.items()
        },
        "whole": dict(whole),
    }
