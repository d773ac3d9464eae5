"""Rank correlations over nodes, with confidence intervals that hold for few nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from attrs import frozen

CorrelationKind = Literal["spearman", "kendall"]

FEWEST_NODES = 10
"""Nodes below which no interval is given: it would exclude next to nothing."""

_NORMAL = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@frozen
class Correlation:
    """A rank correlation over so many nodes, with its 95 % interval from `low` to `high`.

    Of one group: Fisher's z, with the variance ``(1 + r**2 / 2) / (n - 3)`` for Spearman's (Bonett
    and Wright 2000, Psychometrika 65) and ``0.437 / (n - 4)`` for Kendall's correlation (Fieller,
    Hartley and Pearson 1957, Biometrika 44). As 1 and -1 have no z, they count as one half of the
    smallest step below them. Too few nodes for a variance give the interval from -1 to 1.
    """

    value: float
    low: float
    high: float
    nodes: int

    @property
    def known(self) -> bool:
        """Whether the interval is known: ten nodes or more."""
        return self.nodes >= FEWEST_NODES

    def interval(self) -> tuple[float, float] | None:
        """Return ``(low, high)``; None for fewer than ten nodes."""
        return (self.low, self.high) if self.known else None

    def text(self) -> str:
        """Return the value with its interval, or that there are too few nodes for one."""
        if not self.known:
            return f"{self.value:.2f}, too few nodes for an interval"
        return f"{self.value:.2f}, 95 % interval {self.low:.2f} to {self.high:.2f}"


def of_group(kind: CorrelationKind, value: float, nodes: int) -> Correlation:
    """Return the correlation of one group of nodes with its interval."""
    free = nodes - (3 if kind == "spearman" else 4)
    if free < 1:
        return Correlation(value, -1.0, 1.0, nodes)
    inner = _inside(kind, value, nodes)
    variance = (1 + inner**2 / 2) / free if kind == "spearman" else 0.437 / free
    z, reach = math.atanh(inner), _NORMAL * math.sqrt(variance)
    low, high = math.tanh(z - reach), math.tanh(z + reach)
    return Correlation(value, min(low, value), max(high, value), nodes)


def _inside(kind: CorrelationKind, value: float, nodes: int) -> float:
    """Return the value, moved inside of -1 and 1 by half of the change of one neighbour swap."""
    step = 12 / (nodes * (nodes**2 - 1)) if kind == "spearman" else 4 / (nodes * (nodes - 1))
    limit = 1 - step / 2
    return min(limit, max(-limit, value))


def pooled(parts: Sequence[Correlation]) -> Correlation | None:
    """Return the mean over groups, weighted by nodes; None without any.

    Its interval recovers the variances from those of the groups, which are independent: with the
    weights w, ``low = mean - sqrt(sum((w * (value - low)) ** 2))``, `high` alike (Zou 2007,
    Psychological Methods 12). Of one group it is that group's own. It is about the mean of what
    groups of these sizes show: a correlation is drawn towards 0 in small groups.
    """
    nodes = sum(part.nodes for part in parts)
    if not nodes:
        return None
    weights = [(part.nodes / nodes, part) for part in parts]
    value = math.fsum(weight * part.value for weight, part in weights)
    below = math.hypot(*(weight * (part.value - part.low) for weight, part in weights))
    above = math.hypot(*(weight * (part.high - part.value) for weight, part in weights))
    return Correlation(value, max(-1.0, value - below), min(1.0, value + above), nodes)
