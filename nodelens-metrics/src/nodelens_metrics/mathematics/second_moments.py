"""Second moments of a group, exact or from a sketch, and constants of their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Statistic
    from nodelens.statistics.quantities import Quantity

NOISE = 1e-6
"""Relative variance of the noise that every node gets."""

RANK = 1024
"""Rank of a sketch where the whole covariance does not fit the memory: ρ ± 0.03 to 0.04."""

INVARIANCES = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
"""Information does not depend on the scale and offset of a node."""


COVARIANCE = Gram(reads="input")
"""Covariance of the input of a producer."""


def second_moments(sketch: int | None, of: Quantity = "value") -> Statistic[Any]:
    """Return the statistic of a group's second moments: exact, or a sketch of some rank."""
    from nodelens.statistics.sketch import GramSketch

    return Gram(of=of) if sketch is None else GramSketch(of=of, rank=sketch)
