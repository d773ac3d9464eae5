"""Rank correlations of metrics within groups, averaged over groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.analyses.ranks import (
    directed,
    equal_metrics,
    equality_note,
    rank_correlations,
    shown_name,
)
from nodelens.findings.finding import Finding, Heatmap, Table

if TYPE_CHECKING:
    from nodelens.scoring.scores import Scores

_NOTE = (
    "Spearman's correlation of importance within each group, averaged over the groups where both "
    "metrics vary, weighted by nodes. (raw): the metric has no direction, its values are compared."
)


@frozen(eq=False)
class Agreements:
    """Mean correlations ``(metrics, metrics)``, NaN where undefined, with nodes and groups."""

    metrics: tuple[str, ...]
    values: NDArray[np.float64]
    nodes: NDArray[np.int64]
    groups: NDArray[np.int64]

    def at(self, row: int, column: int) -> float | None:
        """Return the correlation of two metrics, None where no group defines one."""
        value = float(self.values[row, column])
        return None if np.isnan(value) else value


def measure(scores: Scores) -> Agreements:
    """Return the agreement of every two metrics."""
    size = len(scores.metrics)
    total = np.zeros((size, size))
    nodes = np.zeros((size, size), dtype=np.int64)
    groups = np.zeros((size, size), dtype=np.int64)
    for group in scores.whole_groups:
        there = [at for at, name in enumerate(scores.metrics) if (name, group) in scores]
        columns = [directed(scores[scores.metrics[at], group]) for at in there]
        correlations = rank_correlations(columns)
        defined = ~np.isnan(correlations)
        block = np.ix_(there, there)
        total[block] += np.where(defined, correlations, 0.0) * len(columns[0])
        nodes[block] += defined * len(columns[0])
        groups[block] += defined
    values = np.where(nodes > 0, total / np.maximum(nodes, 1), np.nan)
    names = tuple(shown_name(next(iter(scores.of(name).values()))) for name in scores.metrics)
    return Agreements(names, values, nodes, groups)


def agreement(scores: Scores) -> Finding:
    """Return the agreement of all metrics as a finding."""
    found, equal = measure(scores), equal_metrics(scores, scores.metrics)
    pairs, note = _pairs(found), _NOTE + equality_note(equal)
    return Finding(
        kind="analysis",
        name="agreement",
        title="Agreement of the metrics",
        headline=tuple(_headline(found, pairs)),
        tables=(_table(found, pairs, note),),
        plots=(_heatmap(found, note),) if found.metrics else (),
        data={
            "metrics": list(found.metrics),
            "spearman": [list(row) for row in _cells(found)],
            "constant": _constant(found),
            "equal": [list(names) for names in equal],
        },
    )


def _pairs(found: Agreements) -> list[tuple[int, int]]:
    """Return all pairs, the most alike first and the undefined last."""
    pairs = combinations(range(len(found.metrics)), 2)
    return sorted(pairs, key=lambda pair: -float(np.nan_to_num(found.values[pair], nan=-2.0)))


def _headline(found: Agreements, pairs: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield the most and the least alike metrics that have a direction; raw values have no sign."""
    known = [
        pair
        for pair in pairs
        if found.at(*pair) is not None
        and not any(found.metrics[at].endswith("(raw)") for at in pair)
    ]
    if not known:
        yield "no two metrics with a direction can be compared"
        return
    words = [
        f"{found.metrics[a]} and {found.metrics[b]} ({found.values[a, b]:.2f})" for a, b in known
    ]
    yield f"most alike: {words[0]}"
    if len(words) > 1:
        yield f"most different: {words[-1]}"


def _constant(found: Agreements) -> list[str]:
    return [name for at, name in enumerate(found.metrics) if found.at(at, at) is None]


def _cells(found: Agreements) -> tuple[tuple[float | None, ...], ...]:
    size = range(len(found.metrics))
    return tuple(tuple(found.at(row, column) for column in size) for row in size)


def _heatmap(found: Agreements, note: str) -> Heatmap:
    return Heatmap(
        name="agreement",
        title="Rank correlation between metrics",
        rows=found.metrics,
        columns=found.metrics,
        values=_cells(found),
        note=note,
        limits=(-1.0, 1.0),
    )


def _table(found: Agreements, pairs: Sequence[tuple[int, int]], note: str) -> Table:
    rows = tuple(
        (
            found.metrics[a],
            found.metrics[b],
            found.at(a, b),
            int(found.nodes[a, b]),
            int(found.groups[a, b]),
        )
        for a, b in pairs
    )
    columns = ("metric", "other metric", "spearman", "nodes", "groups")
    return Table("agreement", "Rank correlation of every two metrics", columns, rows, note)
