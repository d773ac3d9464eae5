"""Second moments of a group, exact or from a sketch, and what metrics of these have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Statistic
    from nodelens.statistics.quantities import Quantity

NOISE = 1e-6
"""Relative variance of the noise that every node is given."""

RANK = 1024
"""Rank of a sketch where the whole covariance does not fit the memory: ρ ± 0.03 to 0.04."""

INVARIANCES = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
"""Scale and offset of a node do not matter to what it says."""


COVARIANCE = Gram(reads="input")
"""The covariance of what a producer's weights are multiplied with."""


def second_moments(sketch: int | None, of: Quantity = "value") -> Statistic[Any]:
    """Return the statistic that correlations are read from: exact, or a sketch of some rank."""
    from nodelens.statistics.sketch import GramSketch

    return Gram(of=of) if sketch is None else GramSketch(of=of, rank=sketch)
