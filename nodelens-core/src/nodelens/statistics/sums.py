"""Sums over the positions of each row, computed once for all statistics of a reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from nodelens.interfaces.statistic import Reading, RowSums
from nodelens.statistics.rows import moved, over_components, row_counts, row_sum, upcast
from nodelens.statistics.sweeps import ReadingSlice, swept

LONG = 16
"""Positions from which on a row is summed about its own mean."""

_SHORT = 64
"""Positions below which extremes are faster on a copy with nodes side by side."""

_TINY = 1e-15
"""Row means below which squares of differences may be too small for float32."""

_SPANS = {2: (1e-30, 1e36), 4: (1e-15, 1e18)}
"""The range of sums of squares of a row by order, within which float32 holds all powers."""

Sums = tuple[Tensor, ...]
"""The tensors under one key of `Reading.shared`."""

_OWN, _POWERS, _MAGNITUDES, _SMALL, _GATES = "own", "powers", "magnitudes", "small", "gates"


def take(reading: Reading, wanted: RowSums) -> None:
    """Compute the missing sums of a reading in one sweep, and keep them in `Reading.shared`.

    All are ``(rows, nodes)``. Where values are float32 or less and rows are long, powers are summed
    in float32 about the mean of their own row, and `power_sums` moves them to the pivot in float64;
    Σ|a|, taken with them, is |Σa| where all of a row has one sign. The rounding is then relative to
    the spread within a row, wherever the pivot lies; a row of one value has none. Everything else
    is summed in float64. Powers need a reading with a pivot.
    """
    if wanted.gates:
        gate_sums(reading)
    keys = _missing(reading, wanted)
    if not keys:
        return
    own = _about_own_means(reading, keys)
    found = iter(own or swept(reading, partial(_exact, reading, keys)))
    for key, length in keys.items():
        if own and key == _POWERS:
            reading.shared.pop(_POWERS, None)
            reading.shared[_OWN] = tuple(next(found) for _ in range(1 + length))
        else:
            reading.shared.pop(_OWN if key == _POWERS else None, None)
            reading.shared[key] = tuple(next(found) for _ in range(length))


def power_sums(reading: Reading, pivot: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the row sums of d, d², … of d = a − pivot, `order` of them or more, 2 or 4."""
    if reading.pivot is None:
        reading = evolve(reading, pivot=pivot, shared={})
    take(reading, RowSums(powers=4 if order > 2 else 2))
    sums = _about_pivot(reading)
    if pivot is reading.pivot:
        return sums
    assert reading.pivot is not None
    return tuple(moved([row_counts(reading).unsqueeze(-1), *sums], reading.pivot - pivot))


def finite_sums(reading: Reading, gradient: bool) -> Tensor:
    """Return sums over the positions of each row, ``(rows, nodes)``, finite if all values are.

    Sums that a statistic has already taken are used again.
    """
    shared = reading.shared
    known = shared.get(_GATES) if gradient else shared.get(_OWN, shared.get(_POWERS))
    if known is not None:
        return known[0]
    tensor = reading.gradient if gradient else reading.values
    assert tensor is not None
    return swept(reading, lambda cut: (tensor[cut].double().sum(1),))[0]


def absolute_sums(reading: Reading) -> Tensor:
    """Return the row sums of |a|; padding holds zeros."""
    take(reading, RowSums(magnitudes=True))
    return reading.shared[_MAGNITUDES][0]


def extremes(reading: Reading) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest value of each row, ∓inf of rows without a valid one."""
    take(reading, RowSums(magnitudes=True))
    _, high, low = reading.shared[_MAGNITUDES]
    return high, low


def small_counts(reading: Reading, tolerance: float) -> Tensor:
    """Return the number of valid |a| ≤ tolerance in each row."""
    take(reading, RowSums(small=frozenset({tolerance})))
    return reading.shared[_SMALL, tolerance][0]


def _missing(reading: Reading, wanted: RowSums) -> dict[Any, int]:
    """Return the keys of the missing sums, with the number of sums of each."""
    shared, found = reading.shared, {}
    known = max(len(shared.get(_POWERS, ())), len(shared.get(_OWN, ())) - 1)
    if reading.pivot is not None and known < wanted.powers:
        found[_POWERS] = int(wanted.powers)
    if wanted.magnitudes and _MAGNITUDES not in shared:
        found[_MAGNITUDES] = 3
    return found | {(_SMALL, t): 1 for t in wanted.small if (_SMALL, t) not in shared}


def _exact(reading: Reading, keys: Mapping[Any, int], cut: ReadingSlice) -> tuple[Tensor, ...]:
    """Return the sums of a slice, taken in float64."""
    powers: tuple[Tensor, ...] = ()
    if _POWERS in keys:
        assert reading.pivot is not None
        powers = _powers(centred_cut(reading, reading.pivot, cut), keys[_POWERS])
        if len(keys) == 1:
            return powers
    return *powers, *_magnitudes(reading, keys, cut, upcast(reading.values[cut]))


def _about_own_means(reading: Reading, keys: Mapping[Any, int]) -> Sums | None:
    """Return the sums in float32: the mean of each row, then powers about that mean.

    None where no powers are missing, where the values are float64 or on a GPU, where rows are
    short, and where a power would leave the range of float32.
    """
    values, valid, order = reading.values, reading.valid, keys.get(_POWERS, 0)
    if not order or values.shape[1] < LONG or not values.is_cpu:
        return None
    if values.dtype.itemsize > 4 or not values.dtype.is_floating_point:
        return None

    def terms(cut: ReadingSlice) -> tuple[Tensor, ...]:
        part = upcast(values[cut])
        if valid is None:
            mean = part.mean(1)
            d = part - mean.unsqueeze(1)
        else:
            counts = row_counts(reading)[cut.rows].unsqueeze(-1).clamp(min=1.0)
            mean = part.sum(1) / counts.to(part.dtype)
            d = (part - mean.unsqueeze(1)).masked_fill_(~valid[cut.rows].unsqueeze(-1), 0.0)
        powers = _powers(d, order)
        if len(keys) == 1:
            return mean, *powers
        counts = row_counts(reading)[cut.rows].unsqueeze(-1)
        total = torch.addcmul(powers[0].double(), mean.double(), counts)
        return mean, *powers, *_magnitudes(reading, keys, cut, part, total, space=d)

    found = swept(reading, terms)
    return found if _held(found[0], found[1:], order) else None


def _about_pivot(reading: Reading) -> Sums:
    """Return the powers about the pivot, and store them in place of those about row means."""
    if _OWN in reading.shared:
        assert reading.pivot is not None
        mean, *powers = (each.double() for each in reading.shared.pop(_OWN))
        counts = row_counts(reading).unsqueeze(-1)
        reading.shared[_POWERS] = tuple(moved([counts, *powers], mean - reading.pivot))
    return reading.shared[_POWERS]


def _held(mean: Tensor, sums: Sequence[Tensor], order: int) -> bool:
    """Whether float32 could hold all powers; a sum of squares is 0 for equal values only."""
    if not mean.numel():
        return True
    lowest, highest = _SPANS[order]
    first, square = sums[:2]
    low, high = (float(end) for end in square.aminmax())
    if lowest < low:
        return high < highest
    flat = square == 0
    low = float(square.masked_fill(flat, 1.0).amin())
    vanished = flat & (mean.abs() < _TINY) & ((mean != 0) | (first != 0))
    return lowest < low and high < highest and not bool(vanished.any())


def _powers(d: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the sums over positions of the powers of `d`, which is used up."""
    first = d.sum(1)
    if order == 2:
        return first, d.square_().sum(1)
    square = d.square()
    second, third = square.sum(1), d.mul_(square).sum(1)
    return first, second, third, square.square_().sum(1)


def _magnitudes(
    reading: Reading,
    keys: Mapping[Any, int],
    cut: ReadingSlice,
    part: Tensor,
    total: Tensor | None = None,
    space: Tensor | None = None,
) -> list[Tensor]:
    """Return Σ|a| and extremes, and counts of small |a|, as far as they are among `keys`.

    `part` are the values in float32 or better, `total` is their sum if it is known, `space` is a
    tensor of the same size to write into: new memory would drive the values out of the cache.
    """
    magnitude, found = torch.abs(part, out=space), []
    if _MAGNITUDES in keys:
        high, low = _ends(reading, cut, part)
        found = [_sum_of(magnitude, total, high, low), high, low]
    tolerances = [key[1] for key in keys if key[0] == _SMALL]
    for tolerance in tolerances[:-1]:
        found.append(_small(reading, cut, magnitude.clone(), tolerance))
    for tolerance in tolerances[-1:]:
        found.append(_small(reading, cut, magnitude, tolerance))
    return found


def _sum_of(magnitude: Tensor, total: Tensor | None, high: Tensor, low: Tensor) -> Tensor:
    """Return Σ|a|: for a row of one sign |Σa|, which has no rounding if all values are equal."""
    if total is None:
        return row_sum(magnitude)
    mixed = magnitude.sum(1).double()
    return total.where(low >= 0, (-total).where(high <= 0, mixed))


def _small(reading: Reading, cut: ReadingSlice, magnitude: Tensor, tolerance: float) -> Tensor:
    """Return the number of valid magnitudes up to the tolerance; `magnitude` is overwritten.

    Floating numbers add up faster than bools.
    """
    small = magnitude.le_(tolerance)
    if reading.valid is not None:
        small.mul_(reading.valid[cut.rows].unsqueeze(-1))
    return small.sum(1).double()


def _ends(reading: Reading, cut: ReadingSlice, part: Tensor) -> tuple[Tensor, Tensor]:
    """Return largest and smallest values over positions, padding left out."""
    if part.shape[1] < _SHORT:
        part = part.contiguous()
    if reading.valid is None:
        return part.amax(1).double(), part.amin(1).double()
    hidden = ~reading.valid[cut.rows].unsqueeze(-1)
    high, low = (part.masked_fill(hidden, end) for end in (-torch.inf, torch.inf))
    return high.amax(1).double(), low.amin(1).double()


def gate_sums(reading: Reading) -> Tensor:
    """Return Q = Σ_t a·g of every row."""
    if _GATES not in reading.shared:
        reading.shared[_GATES] = swept(reading, lambda cut: (gates(reading, cut).sum(1),))
    return reading.shared[_GATES][0]


def gates(reading: Reading, cut: ReadingSlice) -> Tensor:
    """Return q = a·g, ``(rows, positions, nodes)`` float64, summed over a node's components."""
    assert reading.gradient is not None
    q = copied(reading.values[cut]).mul_(reading.gradient[cut].double())
    return over_components(q, reading.components)


def centred_cut(reading: Reading, pivot: Tensor, cut: ReadingSlice) -> Tensor:
    """Return new values about the pivot in float64, padding 0, ``(rows, positions, nodes)``."""
    d = copied(reading.values[cut]).sub_(pivot[cut.nodes])
    if reading.valid is not None:
        d.masked_fill_(~reading.valid[cut.rows].unsqueeze(-1), 0.0)
    return d


def copied(values: Tensor) -> Tensor:
    """Return a float64 copy, which may be worked on in place."""
    return values.to(torch.float64, copy=True)


def joined_sums(readings: Sequence[Reading]) -> dict[Any, tuple[Tensor, ...]]:
    """Return the shared sums that all of some readings have, for their positions side by side.

    The readings are of the same rows and have one pivot, about which their powers then are.
    """
    for reading in readings:
        if _OWN in reading.shared:
            _about_pivot(reading)
    first = readings[0].shared
    everywhere = [key for key in first if all(key in each.shared for each in readings)]
    found = {}
    for key in everywhere:
        join = _JOINED.get(key[0] if isinstance(key, tuple) else key)
        if join is not None:
            found[key] = reduce(join, (each.shared[key] for each in readings))
    return found


def _added(one: Sums, other: Sums) -> Sums:
    return tuple(a + b for a, b in zip(one, other, strict=False))


def _spanned(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1].maximum(other[1]), one[2].minimum(other[2])


def _same(one: Sums, _: Sums) -> Sums:
    return one


_JOINED: Mapping[str, Callable[[Sums, Sums], Sums]] = {
    _POWERS: _added,
    _SMALL: _added,
    _GATES: _added,
    "counts": _added,
    _MAGNITUDES: _spanned,
    "members": _same,
}
"""How sums of two readings of the same rows make that of their positions together."""
