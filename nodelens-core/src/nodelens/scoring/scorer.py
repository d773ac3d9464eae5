"""Scores from a capture: every metric on every group, with standard errors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor, nn

from nodelens.capture.result import Capture
from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.errors import ENDINGS, CaptureError, NotApplicableError
from nodelens.interfaces.metric import Metric, dependencies_of, weights_of
from nodelens.interfaces.statistic import covering
from nodelens.progress import Progress
from nodelens.scoring.effective_weights import effective_weights
from nodelens.scoring.metric_results import ResultError, checked_values, fault
from nodelens.scoring.read_only import ReadOnly
from nodelens.scoring.request_digest import digest_of
from nodelens.scoring.scores import Score, Scores
from nodelens.scoring.standard_errors import (
    StandardErrors,
    few_positions,
    few_probes,
    few_rows,
    reason_against,
    standard_errors,
)
from nodelens.scoring.view import GroupView, Network

_T = TypeVar("_T")


@frozen(eq=False)
class ScoreRequest:
    """A request for scores: a capture, the model, and metrics by their names in the results."""

    model: nn.Module
    graph: ChannelGraph
    metrics: Mapping[str, Metric]
    capture: Capture
    progress: Progress | None = None

    @cached_property
    def digest(self) -> str:
        """The digest of data, model, capture and metrics, by which a cache finds scores again."""
        return digest_of(self)


@frozen(eq=False)
class ScoringContext:
    """A request for scores, with the states, weights and modules that scores are computed from.

    Inside `kept`, neither weights nor statistics can be written to.
    """

    request: ScoreRequest
    parameters: Mapping[str, Tensor]
    network: Network
    kept: ReadOnly


@define
class _Results:
    scores: dict[tuple[str, str], Score] = field(factory=dict)
    layers: dict[tuple[str, str], Score] = field(factory=dict)
    skipped: dict[tuple[str, str], str] = field(factory=dict)
    failed: dict[str, str] = field(factory=dict)

    def by_metric(self, request: ScoreRequest) -> Scores:
        """Return everything in the order of the metrics, then of the groups."""
        order = {name: number for number, name in enumerate(request.metrics)}
        return Scores(
            _sorted(self.scores, order),
            _sorted(self.skipped, order),
            {name: self.failed[name] for name in order if name in self.failed},
            request.capture.samples,
            _sorted(self.layers, order),
        )


def _sorted(found: Mapping[tuple[str, str], _T], order: Mapping[str, int]) -> dict[Any, _T]:
    """Return results that were found group by group in the order of the metrics."""
    return {key: found[key] for key in sorted(found, key=lambda key: order[key[0]])}


def compute_scores(request: ScoreRequest) -> Scores:
    """Return the scores of every metric on every group that can be read.

    Groups come one after the other, so that only one needs its states in memory at a time.
    Where a metric is undefined the reason is in `skipped`; a metric whose code raises, or that
    gives values that are not finite, is in `failed` while the others are scored.
    """
    results, context = _Results(), context_of(request)
    entries = request.capture.plan.entries
    for number, entry in enumerate(entries):
        if request.progress:
            request.progress("scores", number, len(entries))
        for name, metric in request.metrics.items():
            _score(context, name, metric, entry.group, results)
        context.network.reduced.clear()
    if request.progress:
        request.progress("scores", len(entries), len(entries))
    for group, reason in request.capture.plan.unread.items():
        results.skipped.update({(name, group): reason for name in request.metrics})
    return results.by_metric(request)


def check_scored(scores: Scores, capture: Capture) -> None:
    """Raise `CaptureError` with the reason where places were lost and no group has any score."""
    lost = (*capture.counts.lost.values(), *capture.counts.broken.values())
    if lost and not scores.scores and not scores.layers:
        raise CaptureError(f"nothing could be scored: {lost[0]}")


def context_of(request: ScoreRequest) -> ScoringContext:
    """Return the context that the scores of a request are computed from."""
    model, capture = request.model, request.capture
    modules = dict(model.named_modules(remove_duplicate=False))
    network = Network(
        request.graph,
        capture.states,
        capture.plan.input_of,
        modules,
        request.metrics,
        lost=capture.lost,
        broken=frozenset(capture.counts.broken.values()),
    )
    weights = effective_weights(model, request.graph)
    return ScoringContext(
        request, weights, network, ReadOnly(weights, capture.states, network.reduced)
    )


def _score(
    context: ScoringContext, name: str, metric: Metric, group: ChannelGroup, results: _Results
) -> None:
    """Add the score of one metric on one group, or why there is none, to the results."""
    try:
        with context.kept:
            found = _found(context, name, metric, group)
    except NotApplicableError as reason:
        results.skipped[name, group.name] = str(reason)
    except ENDINGS:
        raise
    except BaseException as error:  # noqa: BLE001 - plugin code: one metric must not end the others
        results.failed.setdefault(name, f"{group.name}: {fault(error)}")
    else:
        into = results.layers if metric.info.level == "layer" else results.scores
        into[name, group.name] = found


def _found(context: ScoringContext, name: str, metric: Metric, group: ChannelGroup) -> Score:
    info = metric.info
    values, errors = _values(context, metric, group)
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ResultError(f"gave values that are not finite for nodes {bad[:5]}")
    return Score(
        metric=name,
        group=group.name,
        values=values.numpy(),
        higher_is_better=info.higher_is_better,
        unit=info.unit,
        se=None if errors.se is None else errors.se.numpy(),
        folds=errors.folds,
        no_interval=errors.no_interval,
        heavy_tails=info.heavy_tails,
        warnings=errors.warnings,
        contributions=_contributions(context, metric, group),
    )


def _contributions(context: ScoringContext, metric: Metric, group: ChannelGroup) -> dict[str, Any]:
    """Return the part of a metric's values that each metric it depends on adds."""
    if not hasattr(metric, "contributions"):
        return {}
    view = view_of(context, metric, group, torch.ones(len(rows_of(context, metric))) > 0)
    found = metric.contributions(view)
    return {
        name: checked_values(values, group.width, f"a contribution of {name}").numpy()
        for name, values in found.items()
    }


def _values(
    context: ScoringContext, metric: Metric, group: ChannelGroup
) -> tuple[Tensor, StandardErrors]:
    """Return values with their standard errors."""
    rows = rows_of(context, metric)
    width = 1 if metric.info.level == "layer" else group.width
    view = view_of(context, metric, group, torch.ones(len(rows), dtype=torch.bool))
    values = checked_values(metric.score(view), width)
    used = rows.nonzero().flatten().tolist()
    reason = reason_against(_all_metrics(context, metric), rows)
    if reason:
        return values, StandardErrors(no_interval=reason)
    without = []
    for fold in used:
        others = view.keep.clone()
        others[fold] = False
        found = metric.score(view_of(context, metric, group, others))
        without.append(checked_values(found, width))
    errors = standard_errors(values, torch.stack(without), rows[used].to(values))
    drawn = any(getattr(statistic, "random", False) for statistic in metric.statistics)
    told = (
        few_rows(values, errors.se) if metric.info.heavy_tails else "",
        few_probes(values, errors.se) if drawn else "",
        _few_positions(view),
    )
    return values, evolve(errors, warnings=(*errors.warnings, *filter(None, told)))


def _few_positions(view: GroupView) -> str:
    """Return a warning where covariances of the group's nodes are taken from few positions."""
    counts = [
        float(state["count"].sum())
        for statistic, state in view.states.items()
        if "quadratic" in getattr(statistic, "requires", ()) and "count" in state
    ]
    return few_positions(min(counts), view.width) if counts else ""


def _all_metrics(context: ScoringContext, metric: Metric) -> list[Metric]:
    """Return a metric and all metrics that it depends on."""
    parts = [context.request.metrics[name] for name in dependencies_of(metric)]
    return [metric, *(each for part in parts for each in _all_metrics(context, part))]


def rows_of(context: ScoringContext, metric: Metric) -> Tensor:
    """Return the samples of each fold, ``(folds,)``, of the statistic that is kept in fewest."""
    capture = context.request.capture
    asked = [s for each in _all_metrics(context, metric) for s in each.statistics]
    folds = min([capture.plan.folds_of(s) for s in asked], default=capture.plan.folds)
    index = torch.arange(len(capture.rows)) % folds
    return torch.zeros(folds, dtype=torch.int64).index_add_(0, index, capture.rows)


def _places(group: ChannelGroup) -> tuple[str, str]:
    """Return the names of the states of a group."""
    return group.name, f"{group.name} (pair)"


def view_of(
    context: ScoringContext, metric: Metric, group: ChannelGroup, keep: Tensor
) -> GroupView:
    """Return the view of a group for a metric: the statistics that it declares, and no others."""
    declared = [s for each in _all_metrics(context, metric) for s in each.statistics]
    known, states = context.request.capture.states, {}
    for place in _places(group):
        among = known.get(place, {})
        found = {covering(statistic, among) for statistic in declared} - {None}
        states.update({s: dict(among[s]) for s in among if s in found})
    weights = frozenset(each for one in _all_metrics(context, metric) for each in weights_of(one))
    seen = MappingProxyType(states)
    return GroupView(group, seen, context.parameters, keep, context.network, weights)
