"""From a capture to scores: every metric on every group, with standard errors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from nodelens.capture.engine import Capture
from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.errors import NotApplicableError
from nodelens.scoring.contract import Metric, has_jackknife
from nodelens.scoring.jackknife import jackknife_se
from nodelens.scoring.scores import Score, Scores
from nodelens.scoring.view import GroupView


@frozen(eq=False)
class ScoreRequest:
    """What to score: metrics by the name that they have in the results."""

    model: nn.Module
    graph: ChannelGraph
    metrics: Mapping[str, Metric]
    capture: Capture


@define
class _Results:
    scores: dict[tuple[str, str], Score] = field(factory=dict)
    skipped: dict[tuple[str, str], str] = field(factory=dict)
    failed: dict[str, str] = field(factory=dict)


def compute_scores(request: ScoreRequest) -> Scores:
    """Return the scores of every metric on every group that can be read.

    Where a metric is undefined the reason is in `skipped`; a metric whose code raises, or that
    gives values that are not finite, is in `failed` while the others go on.
    """
    results = _Results()
    named = [
        *request.model.named_parameters(remove_duplicate=False),
        *request.model.named_buffers(remove_duplicate=False),
    ]
    parameters: dict[str, Tensor] = dict(named)
    for name, metric in request.metrics.items():
        for entry in request.capture.plan.entries:
            _score(request, parameters, name, metric, entry.group, results)
        for group, reason in request.capture.plan.unread.items():
            results.skipped[name, group] = reason
    samples = request.capture.samples
    return Scores(results.scores, results.skipped, results.failed, samples)


def _score(
    request: ScoreRequest,
    parameters: Mapping[str, Tensor],
    name: str,
    metric: Metric,
    group: ChannelGroup,
    results: _Results,
) -> None:
    try:
        values, se = _values(request, parameters, metric, group)
    except NotApplicableError as reason:
        results.skipped[name, group.name] = str(reason)
        return
    except Exception as error:  # noqa: BLE001 - plugin code: one metric must not end the others
        results.failed.setdefault(name, f"{group.name}: {type(error).__name__}: {error}")
        return
    problem = _problem(values, group)
    if problem:
        results.failed.setdefault(name, f"{group.name}: {problem}")
        return
    results.scores[name, group.name] = Score(
        metric=name,
        group=group.name,
        values=values.cpu().numpy(),
        better=metric.better,
        unit=metric.unit,
        se=None if se is None else se.cpu().numpy(),
    )


def _problem(values: Tensor, group: ChannelGroup) -> str | None:
    if values.shape != (group.width,):
        return f"gave shape {tuple(values.shape)} for {group.width} nodes"
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    return f"gave values that are not finite for nodes {bad[:5]}" if bad else None


def _values(
    request: ScoreRequest, parameters: Mapping[str, Tensor], metric: Metric, group: ChannelGroup
) -> tuple[Tensor, Tensor | None]:
    """Return values and standard errors, the latter None where the jackknife gives none."""
    capture = request.capture
    states = {
        statistic: capture.states[group.name][statistic]
        for statistic in metric.needs()
        if statistic in capture.states.get(group.name, {})
    }
    keep = torch.ones(len(capture.rows), dtype=torch.bool)
    values = metric.score(GroupView(group, states, parameters, keep)).double()
    used = capture.rows.nonzero().flatten().tolist()
    if not has_jackknife(metric) or len(used) < 2:
        return values, None
    without = []
    for fold in used:
        others = keep.clone()
        others[fold] = False
        without.append(metric.score(GroupView(group, states, parameters, others)).double())
    sizes = capture.rows[used].to(values)
    return values, jackknife_se(values, torch.stack(without), sizes)
