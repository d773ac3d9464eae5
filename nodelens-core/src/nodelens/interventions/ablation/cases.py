"""The groups and metrics that an ablation covers, and those left out with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from nodelens.analyses.ranks import equal_metrics
from nodelens.errors import UnknownNameError, did_you_mean
from nodelens.interventions.ablation.compute import Case
from nodelens.interventions.ablator import maskable

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup
    from nodelens.interfaces.intervention import InterventionRequest
    from nodelens.scoring.scores import Scores


@frozen
class Cases:
    """The cases to measure; `left_out` maps metrics and groups to the reason."""

    cases: tuple[Case, ...]
    left_out: dict[str, str] = field(factory=dict)


def choose_cases(
    request: InterventionRequest,
    scope: Literal["global", "group"],
    wanted: Sequence[str] | None,
    fractions: Sequence[float],
    named: Sequence[str] | None = None,
) -> Cases:
    """Return the groups and metrics to measure.

    With the scope ``global``, metrics that score the same groups share a case, so that every metric
    is compared with random removal from exactly its own groups. With ``group`` every group is one.
    `named` are patterns of the groups to ablate, as `maskable` takes them.
    """
    left_out: dict[str, str] = {}
    metrics = _counted_once(_directed(request.scores, wanted, left_out), request.scores, left_out)
    groups = _groups(request, metrics, max(fractions), left_out, named)
    if scope == "group":
        return Cases(tuple(_single(group, metrics, request.scores) for group in groups), left_out)
    return Cases(tuple(_joint(groups, metrics, request.scores, left_out)), left_out)


def _directed(
    scores: Scores, wanted: Sequence[str] | None, left_out: dict[str, str]
) -> tuple[str, ...]:
    for name in wanted or ():
        if name not in scores.metrics:
            hint = did_you_mean(name, scores.metrics)
            raise UnknownNameError(f"ablation: no scores of a metric {name!r}{hint}")
    metrics = []
    for name in scores.metrics if wanted is None else dict.fromkeys(wanted):
        if any(score.higher_is_better is None for score in scores.of(name).values()):
            left_out[name] = "describes nodes without saying which to keep"
        else:
            metrics.append(name)
    return tuple(metrics)


def _counted_once(
    metrics: tuple[str, ...], scores: Scores, left_out: dict[str, str]
) -> tuple[str, ...]:
    """Return the first of each set of metrics with equal ranks; their curves are the same."""
    for first, *others in equal_metrics(scores, metrics):
        left_out |= dict.fromkeys(others, f"ranks the nodes of every group as {first} does")
    return tuple(name for name in metrics if name not in left_out)


def _groups(
    request: InterventionRequest,
    metrics: Sequence[str],
    largest: float,
    left_out: dict[str, str],
    named: Sequence[str] | None,
) -> tuple[ChannelGroup, ...]:
    there = {group.name for group in maskable(request.graph, named)}
    groups = []
    for group in request.graph:
        if named is not None and group.name not in there and group.at("activation"):
            left_out[group.name] = "no pattern of `groups` fits it"
        elif group.name not in there:
            left_out[group.name] = group.frozen or "no module reads its nodes"
        elif group.width * largest < 0.5 or group.width < 2:
            left_out[group.name] = f"too few nodes ({group.width}) to ablate any"
        elif metrics and not any((name, group.name) in request.scores for name in metrics):
            left_out[group.name] = "no metric scores it"
        else:
            groups.append(group)
    return tuple(groups)


def _single(group: ChannelGroup, metrics: Sequence[str], scores: Scores) -> Case:
    scored = tuple(name for name in metrics if (name, group.name) in scores)
    return Case(group.name, (group,), scored)


def _joint(
    groups: tuple[ChannelGroup, ...],
    metrics: Sequence[str],
    scores: Scores,
    left_out: dict[str, str],
) -> list[Case]:
    covered: dict[tuple[ChannelGroup, ...], list[str]] = {}
    for name in metrics:
        scored = tuple(group for group in groups if (name, group.name) in scores)
        if scored:
            covered.setdefault(scored, []).append(name)
        else:
            left_out[name] = "scores no group that can be ablated"
    if groups and not covered:
        covered[groups] = []
    names = _unique([_name(chosen, groups) for chosen in covered])
    return [
        Case(name, chosen, tuple(found))
        for name, (chosen, found) in zip(names, covered.items(), strict=True)
    ]


def _name(chosen: tuple[ChannelGroup, ...], groups: tuple[ChannelGroup, ...]) -> str:
    if len(chosen) == 1:
        return chosen[0].name
    return "all groups" if chosen == groups else f"{len(chosen)} of {len(groups)} groups"


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, numbered from the second on where several are equal."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique
