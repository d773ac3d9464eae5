"""Scores for the page: ordered values of every group, and the nodes at both ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from markupsafe import Markup, escape

from nodelens.findings.finding import Cell, Table
from nodelens.reports.numbers import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.scoring.scores import Score, Scores

_PANELS = 24
"""The largest number of groups that are drawn for a metric; ``scores.csv`` has all."""

_POINTS = 96
_WIDTH, _HEIGHT, _MARGIN = 160.0, 56.0, 2.0
_ENDS = 5
_DIRECTIONS = {
    True: "high values mark nodes worth keeping",
    False: "low values mark nodes worth keeping",
    None: "describes nodes without saying which to keep",
}


@frozen
class Panel:
    """The ordered values of one metric on one group, as a small figure."""

    group: str
    nodes: int
    drawing: Markup
    low: str
    high: str


@frozen
class MetricView:
    """One metric on all its groups; `hidden` groups are not drawn."""

    metric: str
    direction: str
    unit: str
    panels: tuple[Panel, ...]
    hidden: int


def metric_views(scores: Scores) -> tuple[MetricView, ...]:
    """Return one view per metric."""
    return tuple(_metric_view(metric, scores) for metric in scores.metrics)


def extremes(scores: Scores) -> Table:
    """Return the nodes at both ends of every metric, over all its groups."""
    rows = [row for metric in scores.metrics for row in _ends(metric, scores)]
    return Table(
        name="extremes",
        title="The nodes at both ends of every metric",
        columns=("metric", "end", "group", "node", "value", "value se"),
        rows=tuple(rows),
        note="The values of all nodes are in scores.csv.",
    )


def skipped(scores: Scores) -> Table:
    """Return the table of metrics that did not score a group, with reasons."""
    rows = [(metric, group, reason) for (metric, group), reason in scores.skipped.items()]
    failed = [(metric, "all", reason) for metric, reason in scores.failed.items()]
    return Table(
        name="skipped",
        title="What was not scored, and why",
        columns=("metric", "group", "reason"),
        rows=(*failed, *rows),
    )


def without_interval(scores: Scores) -> Table:
    """Return the table of metrics of which scores have no interval, with reasons."""
    found: dict[tuple[str, str], int] = {}
    for score in (*scores, *scores.layers.values()):
        if score.se is None and score.no_interval:
            key = (score.metric, score.no_interval)
            found[key] = found.get(key, 0) + 1
    return Table(
        name="no_interval",
        title="What has no interval, and why",
        columns=("metric", "groups", "reason"),
        rows=tuple((metric, groups, reason) for (metric, reason), groups in found.items()),
    )


def _metric_view(metric: str, scores: Scores) -> MetricView:
    found = list(scores.of(metric).values())
    return MetricView(
        metric=metric,
        direction=_DIRECTIONS[found[0].higher_is_better],
        unit="" if found[0].unit == "1" else found[0].unit,
        panels=tuple(_panel(score) for score in found[:_PANELS]),
        hidden=max(0, len(found) - _PANELS),
    )


def _panel(score: Score) -> Panel:
    low, high = (number(float(end)) for end in (score.values.min(), score.values.max()))
    label = f"{score.metric} of {len(score.values)} nodes of {score.group}: {low} to {high}"
    return Panel(score.group, len(score.values), _drawing(score, label), low, high)


def _drawing(score: Score, label: str) -> Markup:
    """Return the values in ascending order as a line, the 95 % intervals as a band."""
    order = np.argsort(score.values, kind="stable")
    points = max(2, min(len(order), _POINTS))
    order = order[np.linspace(0, len(order) - 1, points).round().astype(int)]
    values = score.values[order]
    reach = np.zeros(len(order)) if score.se is None else score.interval()[1][order] - values
    bottom, top = float((values - reach).min()), float((values + reach).max())
    x = np.linspace(_MARGIN, _WIDTH - _MARGIN, points)

    def height(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        fraction = (numbers - bottom) / ((top - bottom) or 1.0)
        return _HEIGHT - _MARGIN - fraction * (_HEIGHT - 2 * _MARGIN)

    middle, upper, lower = height(values), height(values + reach), height(values - reach)
    band = _points(np.r_[x, x[::-1]], np.r_[upper, lower[::-1]])
    zero = float(height(np.zeros(1))[0]) if bottom < 0 < top else None
    return _svg(label, band, _points(x, middle), zero)


def _svg(label: str, band: str, line: str, zero: float | None) -> Markup:
    rule = (
        f'<line class="zero" x1="0" x2="{_WIDTH:g}" y1="{zero:.1f}" y2="{zero:.1f}"/>'
        if zero
        else ""
    )
    return Markup(
        f'<svg class="strip" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="{escape(label)}">{rule}<polygon points="{band}"/>'
        f'<polyline points="{line}"/></svg>'
    )


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _ends(metric: str, scores: Scores) -> list[tuple[Cell, ...]]:
    """Return the rows of one metric, the end worth keeping first."""
    rows = [row for row in scores.rows() if row[0] == metric]
    higher_is_better = rows[0][5]
    rows.sort(key=lambda row: row[3], reverse=higher_is_better is not False)
    count = min(_ENDS, len(rows) // 2) or 1
    names = ("highest", "lowest") if higher_is_better is None else ("keep", "remove")
    ends = zip(names, (rows[:count], rows[count:][-count:]), strict=True)
    return [
        (metric, name, group, node, value, se)
        for name, part in ends
        for _, group, node, value, se, _, _ in part
    ]
