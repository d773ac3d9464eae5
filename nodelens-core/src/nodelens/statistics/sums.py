"""Sums over the positions of each row, taken once for all statistics of a reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nodelens.statistics.contract import Reading
from nodelens.statistics.rows import moved, row_counts, row_sum, summed_parts, upcast
from nodelens.statistics.sweeps import Cut, swept

_LONG = 16
"""Positions of a row from which on its sums are first taken about its own mean."""

_TINY = 1e-15
"""Means of a row beneath which the squares of its differences may be too small for float32."""

_SPANS = {2: (1e-30, 1e36), 4: (1e-15, 1e18)}
"""Sums of squares in a row whose powers up to the second, or the fourth, float32 can hold."""


def power_sums(reading: Reading, pivot: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the row sums of d, d², … of d = a − pivot, `order` of them or more, 2 or 4.

    Each is ``(rows, nodes)`` float64. Values of float32 or less in long rows are summed in float32
    about the mean of their own row, and what that gives is moved to the pivot in float64. So the
    rounding is relative to the spread within a row, wherever the pivot lies; a row of one value
    has none. Everything else is summed in float64.
    """

    def make() -> tuple[Tensor, ...]:
        return _about_own_means(reading, pivot, order) or swept(
            reading, lambda cut: _powers(centred_cut(reading, pivot, cut), order)
        )

    return _shared(reading, ("powers", id(pivot)), pivot, make, order)


def _about_own_means(reading: Reading, pivot: Tensor, order: int) -> tuple[Tensor, ...] | None:
    """Return the power sums about the pivot, worked out in float32 as far as rows go.

    None where the values are float64 or on a GPU, where rows are short, and where a power would
    leave what float32 can hold.
    """
    values = reading.values
    if values.dtype.itemsize > 4 or values.device.type != "cpu" or values.shape[1] < _LONG:
        return None
    counts, valid = row_counts(reading).unsqueeze(-1), reading.valid

    def terms(cut: Cut) -> tuple[Tensor, ...]:
        part = upcast(values[cut])
        if valid is None:
            mean = part.mean(1)
            return mean, *_powers(part - mean.unsqueeze(1), order)
        mean = part.sum(1) / counts[cut.rows].clamp(min=1.0).to(part.dtype)
        d = (part - mean.unsqueeze(1)).masked_fill_(~valid[cut.rows].unsqueeze(-1), 0.0)
        return mean, *_powers(d, order)

    mean, *sums = (term.double() for term in swept(reading, terms))
    if not _held(mean, sums, order):
        return None
    return tuple(moved([counts.expand_as(mean), *sums], mean - pivot))


def _held(mean: Tensor, sums: Sequence[Tensor], order: int) -> bool:
    """Whether float32 could hold all powers: a sum of squares is 0 of a row of one value only."""
    if not mean.numel():
        return True
    lowest, highest = _SPANS[order]
    first, square = sums[:2]
    flat = square == 0
    low, high = square.masked_fill(flat, 1.0).aminmax()
    if not lowest < float(low) <= float(high) < highest:
        return False
    return not bool((flat & (mean.abs() < _TINY) & ((mean != 0) | (first != 0))).any())


def _powers(d: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the sums over positions of the powers of `d`, which is used up."""
    first = d.sum(1)
    if order == 2:
        return first, d.square_().sum(1)
    square = d.square()
    second, third = square.sum(1), d.mul_(square).sum(1)
    return first, second, third, square.square_().sum(1)


def absolute_sums(reading: Reading) -> Tensor:
    """Return the row sums of |a|, ``(rows, nodes)`` float64; padding holds zeros."""

    def make() -> tuple[Tensor, ...]:
        return swept(reading, lambda cut: (copied(reading.values[cut]).abs_().sum(1),))

    return _shared(reading, "absolute", None, make)[0]


def extremes(reading: Reading) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest value of each row, ``(rows, nodes)`` float64.

    −inf and inf for rows without a valid position.
    """

    def make() -> tuple[Tensor, ...]:
        return swept(reading, lambda cut: _ends(reading, cut))

    high, low = _shared(reading, "extremes", None, make)
    return high, low


def small_counts(reading: Reading, tolerance: float) -> Tensor:
    """Return how many valid |a| ≤ tolerance each row has, ``(rows, nodes)`` float64.

    Takes absolute sums and extremes on the way, while the values are in the cache.
    """

    def terms(cut: Cut) -> tuple[Tensor, ...]:
        magnitude = upcast(reading.values[cut]).abs()
        total = row_sum(magnitude)
        small = magnitude.le_(tolerance)
        if reading.valid is not None:
            small.mul_(reading.valid[cut.rows].unsqueeze(-1))
        return small.sum(1).double(), total, *_ends(reading, cut)

    small, total, *ends = swept(reading, terms)
    reading.shared["absolute"] = ((total,), None)
    reading.shared["extremes"] = (tuple(ends), None)
    return small


def _ends(reading: Reading, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return largest and smallest values over positions, padding left out."""
    values = reading.values[cut]
    if reading.valid is None:
        return values.amax(1).double(), values.amin(1).double()
    hidden = ~reading.valid[cut.rows].unsqueeze(-1)
    high, low = (values.masked_fill(hidden, end) for end in (-torch.inf, torch.inf))
    return high.amax(1).double(), low.amin(1).double()


def gate_sums(reading: Reading) -> Tensor:
    """Return Q = Σ_t a·g of every row, ``(rows, nodes)`` float64."""

    def make() -> tuple[Tensor, ...]:
        return swept(reading, lambda cut: (gates(reading, cut).sum(1),))

    return _shared(reading, "gates", None, make)[0]


def gates(reading: Reading, cut: Cut) -> Tensor:
    """Return q = a·g, ``(rows, samples, nodes)`` float64, summed over a node's components."""
    assert reading.gradient is not None
    q = copied(reading.values[cut]).mul_(reading.gradient[cut].double())
    return summed_parts(q, reading.parts)


def centred_cut(reading: Reading, pivot: Tensor, cut: Cut) -> Tensor:
    """Return new values about the pivot in float64, padding 0, ``(rows, positions, nodes)``."""
    d = copied(reading.values[cut]).sub_(pivot[cut.nodes])
    if reading.valid is not None:
        d.masked_fill_(~reading.valid[cut.rows].unsqueeze(-1), 0.0)
    return d


def copied(values: Tensor) -> Tensor:
    """Return a float64 copy, which may be worked on in place."""
    return values.to(torch.float64, copy=True)


def joined_sums(readings: Sequence[Reading]) -> dict[Any, Any]:
    """Return what all of some readings have shared, for their positions side by side.

    The readings are of the same rows and have one pivot.
    """
    found: dict[Any, Any] = {}
    for key in readings[0].shared:
        several = [each.shared[key][0] for each in readings if key in each.shared]
        if len(several) < len(readings):
            continue
        sides = [torch.stack(parts) for parts in zip(*several, strict=False)]
        if key == "extremes":
            found[key] = ((sides[0].amax(0), sides[1].amin(0)), None)
        elif key in ("absolute", "gates") or key[0] == "powers":
            found[key] = (tuple(side.sum(0) for side in sides), readings[0].pivot)
    return found


def _shared(
    reading: Reading,
    key: object,
    kept: object,
    make: Callable[[], tuple[Tensor, ...]],
    fewest: int = 0,
) -> tuple[Tensor, ...]:
    """Return what `make` gives, made once for all statistics; `kept` lives as long as the key."""
    known: Any = reading.shared.get(key)
    if known is None or len(known[0]) < fewest:
        known = reading.shared[key] = (make(), kept)
    found: tuple[Tensor, ...] = known[0]
    return found
