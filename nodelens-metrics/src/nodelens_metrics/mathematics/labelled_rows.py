"""Sampled rows with labels, and output numbers that metrics compare nodes with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nodelens.statistics.reservoir import Reservoir

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

Target = Literal["margin", "nll", "entropy"]

OUTPUT_INVARIANCES = frozenset({"activation_shift", "functional", "incoming_scale"})
"""Scaling an activation alone scales its part of the output as well."""


def labelled_rows(samples: int) -> Reservoir:
    """Return the statistic that samples rows with their labels."""
    return Reservoir(size=samples, per="row", targets=True)


def samples_of(group: GroupView, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sampled rows, ``(rows, nodes)``, with their labels and numbers in the data.

    A node whose samples differ by rounding alone is made constant: exactly equal.
    """
    found = group[labelled_rows(samples)]
    assert found.targets is not None
    return settled(found.values), found.targets.long(), found.index.long()


def settled(values: Tensor) -> Tensor:
    """Return samples in which nodes that vary by rounding alone are exactly constant."""
    if not len(values):
        return values
    low, high = values.amin(0), values.amax(0)
    flat = high - low <= 2.0**-40 * low.abs().maximum(high.abs())
    return values.where(~flat, low)
