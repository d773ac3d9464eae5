"""The arithmetic that all statistics share: sums over the positions of a row, rows into folds."""

from __future__ import annotations

import torch
from torch import Tensor

from nodelens.statistics.contract import Layout, Reading, State


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


def add_rows(total: Tensor, per_row: Tensor, fold: Tensor) -> None:
    """Add ``(rows, ...)`` into ``(folds, ...)`` at each row's fold, in place."""
    total.index_add_(0, fold, per_row)


def zeros(layout: Layout, *shape: int) -> Tensor:
    """Return float64 zeros of shape ``(folds, *shape)`` on the layout's device."""
    return torch.zeros(layout.folds, *shape, dtype=torch.float64, device=layout.device)


def pivot_of(state: State, reading: Reading) -> Tensor:
    """Return the state's pivot, ``(nodes,)``, set from the first reading's mean.

    Sums are taken about a pivot near the mean, because raw sums of squares cancel: float32 values
    near 10 000 with unit variance leave no correct digit.
    """
    if "pivot" not in state:
        values = upcast(reading.values)
        total = row_counts(reading).sum().clamp(min=1.0)
        mean = row_sum(blank(values, reading.valid)).sum(0) / total
        state["pivot"] = mean.to(values.dtype).double()
    return state["pivot"]


def centred(state: State, reading: Reading) -> Tensor:
    """Return the readings about the pivot, padding as zero, ``(rows, positions, nodes)``."""
    values = upcast(reading.values)
    return blank(values - pivot_of(state, reading).to(values.dtype), reading.valid)


def add_fields(state: State, other: State) -> None:
    """Add every field of `other` into `state`: the merge of statistics that are plain sums."""
    for name, value in other.items():
        state[name] += value.to(state[name].device)
