"""Ranks of nodes within their group, and correlations of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve
from scipy.stats import kendalltau, rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.scoring.scores import Score, Scores

FEWEST = 3
"""Nodes below which a rank correlation says nothing: two nodes give 1 or -1 whatever they are."""


def directed(score: Score) -> NDArray[np.float64]:
    """Return ``(nodes,)``: the importance, or the raw values of a metric without a direction."""
    return score.values if score.higher_is_better is None else score.importance()


def shown_name(score: Score) -> str:
    """Return the metric's name, marked ``(raw)`` where the metric has no direction."""
    return f"{score.metric} (raw)" if score.higher_is_better is None else score.metric


def equal_metrics(scores: Scores, metrics: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the sets of metrics that rank all nodes alike in every group of the run.

    Metrics that are constant everywhere rank nothing; they equal no other.
    """
    sets: dict[object, list[str]] = {}
    for metric in metrics:
        found = scores.of(metric)
        ranks = {group: rankdata(directed(each)) for group, each in found.items()}
        if any(np.ptp(each) > 0 for each in ranks.values()):
            has_direction = all(each.higher_is_better is not None for each in found.values())
            key = tuple((group, each.tobytes()) for group, each in ranks.items())
            sets.setdefault((has_direction, key), []).append(metric)
    return tuple(tuple(names) for names in sets.values() if len(names) > 1)


def counted_once(scores: Scores) -> tuple[Scores, tuple[tuple[str, ...], ...]]:
    """Return the scores with the first metric of each set of equal metrics, and these sets."""
    sets = equal_metrics(scores, scores.metrics)
    dropped = {name for names in sets for name in names[1:]}
    kept = {key: score for key, score in scores.scores.items() if key[0] not in dropped}
    return evolve(scores, scores=kept), sets


def equality_note(sets: Sequence[Sequence[str]]) -> str:
    """Return the sentence that names metrics of equal ranks, after a blank; nothing without any."""
    if not sets:
        return ""
    names = "; ".join(" = ".join(each) for each in sets)
    return f" Equal ranks in every group, counted once in comparisons: {names}."


def rank_fractions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mid-ranks in ``(0, 1)``, ``(nodes,)``; equal values share the mean of their ranks."""
    ranks: NDArray[np.float64] = (rankdata(values) - 0.5) / len(values)
    return ranks


def rank_correlations(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return Spearman's correlations ``(metrics, metrics)`` of columns of ``(nodes,)``.

    Equal values share mid-ranks. A constant column has no correlation, not even with itself: NaN,
    as for fewer than three nodes.
    """
    size = len(columns)
    if not size or len(columns[0]) < FEWEST:
        return np.full((size, size), np.nan)
    ranks = np.stack([rankdata(column) for column in columns])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1))
    varying = norms > 0
    unit = np.where(varying[:, None], centred / np.where(varying, norms, 1.0)[:, None], np.nan)
    correlations: NDArray[np.float64] = np.clip(unit @ unit.T, -1.0, 1.0)
    return correlations


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    """Return Spearman's rank correlation; None for constant values or fewer than three nodes."""
    value = float(rank_correlations([left, right])[0, 1])
    return None if np.isnan(value) else value


def kendall(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    """Return Kendall's tau-b; None for constant values or fewer than three nodes."""
    if len(left) < FEWEST or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return float(kendalltau(left, right, variant="b").statistic)
