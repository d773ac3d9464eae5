"""The common arithmetic of statistics: sums over the positions of a row, rows into folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Layout, Reading, State

ROUNDING = 2.0**-40
"""The fraction of a sum about the pivot below which a result is taken as rounding of the sum.

A node that fires in one fold only is a constant 0, away from the pivot, once that fold is left out:
E[d²] − E[d]² is then rounding, which grows with the number of batches: 2⁻⁵³ for each at worst,
about 2⁻⁴² after four thousand.
"""

STEADY = 2.0**-48
"""The standard deviation, as a fraction of the mean, up to which a value is constant.

A sum of terms that always makes the same number, such as the attention of a head to equal values,
varies by a few roundings of float64.
"""

_FEWEST, _ENOUGH = 8, 2**18
"""Positions of a row that a pivot is the mean of at least, and elements of all rows that do."""

_GOLDEN = 0.6180339887498949
"""A number whose multiples modulo 1 lie apart, and on no row or column of an image."""


def upcast(values: Tensor) -> Tensor:
    """Return `values` in float32 or better: squares of half-precision numbers overflow."""
    return values.float() if values.dtype.itemsize < 4 else values


def row_sum(values: Tensor) -> Tensor:
    """Sum ``(rows, positions, nodes)`` over positions in float64: ``(rows, nodes)``."""
    return values.sum(dim=1, dtype=torch.float64)


def row_counts(reading: Reading) -> Tensor:
    """Return the number of valid positions of every row, ``(rows,)`` float64."""
    if "counts" not in reading.shared:
        reading.shared["counts"] = (_counted(reading),)
    return reading.shared["counts"][0]


def _counted(reading: Reading) -> Tensor:
    if reading.valid is not None:
        return reading.valid.sum(dim=1, dtype=torch.float64)
    rows, positions = reading.values.shape[:2]
    return torch.full((rows,), float(positions), dtype=torch.float64, device=reading.values.device)


def blank(values: Tensor, valid: Tensor | None, fill: float = 0.0) -> Tensor:
    """Return ``(rows, positions, nodes)`` with padding positions set to `fill`."""
    return values if valid is None else values.masked_fill(~valid.unsqueeze(-1), fill)


def over_components(values: Tensor, components: int) -> Tensor:
    """Sum the components of each node, neighbours in the last axis: ``(…, nodes)``."""
    return values if components == 1 else by_node(values, components).sum(-1)


def by_node(values: Tensor, components: int) -> Tensor:
    """Return the last axis as an axis of nodes and one of their components."""
    return values.reshape(*values.shape[:-1], -1, components)


def add_rows(total: Tensor, per_row: Tensor, fold: Tensor) -> None:
    """Add ``(rows, ...)`` into ``(folds, ...)`` at each row's fold, in place.

    `fold` is ``(rows,)`` int64, or ``(rows, folds)`` float64: how often each row counts in each
    fold. The batch is summed first, so that rounding grows with the number of batches, not of rows.
    """
    if fold.ndim == 2:
        total += (fold.mT @ per_row.reshape(len(fold), -1)).view_as(total)
        return
    total += torch.zeros_like(total).index_add_(0, fold, per_row)


def add_terms(state: State, reading: Reading, terms: Mapping[str, Tensor]) -> None:
    """Add terms, ``(rows,)`` or ``(rows, nodes)``, into the fields of their names, fold by fold.

    Like `add_rows`, with one product for each field.
    """
    members = reading.members(state[next(iter(terms))].shape[0])
    for name, term in terms.items():
        if term.ndim == 1:
            state[name].addmv_(members, term)
        else:
            state[name].addmm_(members, term)


def zeros(layout: Layout, *shape: int) -> Tensor:
    """Return float64 zeros of shape ``(folds, *shape)`` on the layout's device."""
    return torch.zeros(layout.folds, *shape, dtype=torch.float64, device=layout.device)


def mean_of(reading: Reading) -> Tensor:
    """Return a point near the mean, ``(nodes,)``, in the values' precision.

    It is the mean of all rows: of all their valid positions or, where nothing is padding, of some
    that are spread over each row, whatever its grid.
    """
    values, valid = reading.values, reading.valid
    if valid is not None:
        count = row_counts(reading).sum().clamp(min=1.0)
        mean = row_sum(blank(values, valid)).sum(0) / count
    else:
        step = min(values.numel() // _ENOUGH, values.shape[1] // _FEWEST)
        some = values if step < 2 else values[:, _spread(values.shape[1], step, values.device)]
        mean = row_sum(some).sum(0) / max(1, len(some) * some.shape[1])
    return mean.to(upcast(values[:0]).dtype).double()


def _spread(positions: int, step: int, device: torch.device) -> Tensor:
    """Return every step-th of so many positions, on no line of a grid, int64."""
    numbers = torch.arange(positions // step, dtype=torch.float64)
    return (numbers * _GOLDEN % 1.0 * positions).long().to(device)


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
    """Return the mean of a from that of d = a − pivot, exactly 0 where both cancel to rounding."""
    mean = pivot + d1
    return mean.where(mean.abs() > ROUNDING * pivot.abs(), 0.0)


def varies(variance: Tensor, mean: Tensor) -> Tensor:
    """Return True where a value varies by more than the rounding of a constant."""
    return variance > (STEADY * mean).square()


def common_pivot(state: State, other: State, like: str) -> Tensor:
    """Return the pivot of `other` minus that of `state`; a state without one takes it.

    `like` names the field whose device is the state's.
    """
    theirs = other["pivot"].to(state[like].device)
    return theirs - state.setdefault("pivot", theirs)


def moved(sums: Sequence[Tensor], shift: Tensor) -> list[Tensor]:
    """Return Σ(d + shift), Σ(d + shift)², … from Σ1, Σd, Σd², …, by the binomial theorem."""
    found = list(sums)
    for lowest in range(1, len(found)):
        for p in reversed(range(lowest, len(found))):
            found[p] = torch.addcmul(found[p], shift, found[p - 1])
    return found[1:]


def add_fields(state: State, other: State) -> None:
    """Add every field of `other` into `state`: the merge of statistics that are plain sums."""
    for name, value in other.items():
        state[name] += value.to(state[name].device)
