"""The arithmetic that all statistics share: sums over the positions of a row, rows into folds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nodelens.statistics.contract import Layout, Reading, State

ROUNDING = 2.0**-40
"""What is below this fraction of a sum about the pivot is not told from the sum's rounding.

A node that fires in one fold only is a constant 0, away from the pivot, once that fold is left out:
E[d²] − E[d]² is then rounding, which grows with the number of batches: 2⁻⁵³ for each at worst,
about 2⁻⁴² after four thousand.
"""

CHUNK = {"cpu": 2**19, "cuda": 2**26}
"""Elements that are worked on at once: what stays in a processor's cache, or fills a device."""


def upcast(values: Tensor) -> Tensor:
    """Return `values` in float32 or better: squares of half-precision numbers overflow."""
    return values.float() if values.dtype.itemsize < 4 else values


def row_sum(values: Tensor) -> Tensor:
    """Sum ``(rows, positions, nodes)`` over positions in float64: ``(rows, nodes)``."""
    return values.sum(dim=1, dtype=torch.float64)


def row_counts(reading: Reading) -> Tensor:
    """Return the number of valid positions of every row, ``(rows,)`` float64."""
    if reading.valid is not None:
        return reading.valid.sum(dim=1, dtype=torch.float64)
    rows, positions = reading.values.shape[:2]
    return torch.full((rows,), float(positions), dtype=torch.float64, device=reading.values.device)


def blank(values: Tensor, valid: Tensor | None, fill: float = 0.0) -> Tensor:
    """Replace padding positions of ``(rows, positions, nodes)`` by `fill`."""
    return values if valid is None else values.masked_fill(~valid.unsqueeze(-1), fill)


def swept(reading: Reading, terms: Callable[[slice], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return what `terms` gives for all rows, worked out for few rows at a time.

    `terms` maps a slice of rows to tensors ``(rows, ...)``. Elementwise work on a whole activation
    is bound by memory: in float64 and for eight layers it takes four times as long.
    """
    rows = len(reading.values)
    size = max(1, reading.values[0].numel()) if rows else 1
    step = max(1, CHUNK.get(reading.values.device.type, CHUNK["cpu"]) // size)
    parts = [terms(slice(first, first + step)) for first in range(0, max(rows, 1), step)]
    return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))


def power_sums(reading: Reading, pivot: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return the row sums of d, d², … d^order, d = a − pivot: each ``(rows, nodes)`` float64."""

    def powers(rows: slice) -> tuple[Tensor, ...]:
        d = centred_rows(reading, pivot, rows)
        terms, power = [d.sum(1)], d
        for _ in range(order - 1):
            power = power * d
            terms.append(power.sum(1))
        return tuple(terms)

    return _shared(reading, ("powers", order, id(pivot)), pivot, lambda: swept(reading, powers))


def absolute_sums(reading: Reading) -> Tensor:
    """Return the row sums of |a|, ``(rows, nodes)`` float64; padding holds zeros."""

    def sums(rows: slice) -> tuple[Tensor, ...]:
        return (row_sum(blank_rows(reading, rows).abs()),)

    return _shared(reading, "absolute", None, lambda: swept(reading, sums))[0]


def extremes(reading: Reading) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest value of each row, ``(rows, nodes)`` float64.

    −inf and inf for rows without a valid position.
    """

    def ends(rows: slice) -> tuple[Tensor, ...]:
        high, low = (blank_rows(reading, rows, fill) for fill in (-torch.inf, torch.inf))
        return high.amax(1).double(), low.amin(1).double()

    high, low = _shared(reading, "extremes", None, lambda: swept(reading, ends))
    return high, low


def gate_sums(reading: Reading) -> Tensor:
    """Return Q = Σ_t a·g of every row, ``(rows, nodes)`` float64."""

    def sums(rows: slice) -> tuple[Tensor, ...]:
        return (gates(reading, rows).sum(1),)

    return _shared(reading, "gates", None, lambda: swept(reading, sums))[0]


def gates(reading: Reading, rows: slice) -> Tensor:
    """Return q = a·g, ``(rows, samples, nodes)`` float64, summed over a node's components."""
    assert reading.gradient is not None
    q = reading.values[rows].double() * reading.gradient[rows].double()
    return summed_parts(q, reading.parts)


def summed_parts(values: Tensor, parts: int) -> Tensor:
    """Sum the neighbouring positions of one sample: ``(rows, samples, nodes)``."""
    if parts == 1:
        return values
    rows, positions, nodes = values.shape
    return values.reshape(rows, positions // parts, parts, nodes).sum(2)


def blank_rows(reading: Reading, rows: slice, fill: float = 0.0) -> Tensor:
    """Return the values of some rows in float32 or better, padding replaced by `fill`."""
    valid = None if reading.valid is None else reading.valid[rows]
    return blank(upcast(reading.values[rows]), valid, fill)


def centred_rows(reading: Reading, pivot: Tensor, rows: slice) -> Tensor:
    """Return some rows about the pivot in float64, padding 0, ``(rows, positions, nodes)``."""
    valid = None if reading.valid is None else reading.valid[rows]
    return blank(reading.values[rows].double() - pivot, valid)


def centred(state: State, reading: Reading) -> Tensor:
    """Return the readings about the state's pivot in float64, ``(rows, positions, nodes)``."""
    return centred_rows(reading, pivot_of(state, reading), slice(None))


def _shared(
    reading: Reading, key: object, kept: object, make: Callable[[], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Return what `make` gives, made once for all statistics; `kept` lives as long as the key."""
    if key not in reading.shared:
        reading.shared[key] = (make(), kept)
    found: tuple[Tensor, ...] = reading.shared[key][0]
    return found


def add_rows(total: Tensor, per_row: Tensor, fold: Tensor) -> None:
    """Add ``(rows, ...)`` into ``(folds, ...)`` at each row's fold, in place.

    The batch is summed first, so that rounding grows with the number of batches, not of rows.
    """
    total += torch.zeros_like(total).index_add_(0, fold, per_row)


def zeros(layout: Layout, *shape: int) -> Tensor:
    """Return float64 zeros of shape ``(folds, *shape)`` on the layout's device."""
    return torch.zeros(layout.folds, *shape, dtype=torch.float64, device=layout.device)


def mean_of(reading: Reading) -> Tensor:
    """Return the mean over all valid positions, ``(nodes,)``, rounded to the values' precision."""
    total = row_counts(reading).sum().clamp(min=1.0)

    def sums(rows: slice) -> tuple[Tensor, ...]:
        return (row_sum(blank_rows(reading, rows)),)

    mean = swept(reading, sums)[0].sum(0) / total
    return mean.to(upcast(reading.values[:0]).dtype).double()


def pivot_of(state: State, reading: Reading) -> Tensor:
    """Return the state's pivot, ``(nodes,)``: the reading's, or its mean if it has none.

    Sums are taken about a pivot near the mean, because raw sums of squares cancel: float32 values
    near 10 000 with unit variance leave no correct digit.
    """
    if "pivot" not in state:
        state["pivot"] = mean_of(reading) if reading.pivot is None else reading.pivot
    return state["pivot"]


def resolved(central: Tensor, about_pivot: Tensor) -> Tensor:
    """Return even central moments, exactly 0 where they are rounding of those about the pivot."""
    return central.where(central > ROUNDING * about_pivot, 0.0)


def mean_about(pivot: Tensor, d1: Tensor) -> Tensor:
    """Return the mean from that of d = a − pivot, exactly 0 where the two cancel to rounding."""
    mean = pivot + d1
    return mean.where(mean.abs() > ROUNDING * pivot.abs(), 0.0)


def common_pivot(state: State, other: State, like: str) -> Tensor:
    """Return how far the pivot of `other` lies from that of `state`, which takes it if it has none.

    `like` names the field whose device is the state's.
    """
    theirs = other["pivot"].to(state[like].device)
    return theirs - state.setdefault("pivot", theirs)


def add_fields(state: State, other: State) -> None:
    """Add every field of `other` into `state`: the merge of statistics that are plain sums."""
    for name, value in other.items():
        state[name] += value.to(state[name].device)
