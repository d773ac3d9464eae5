"""Random choices that belong to a sample, not to a batch, an order or a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import evolve
from torch import Tensor

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Reading

_FRACTION = 3
"""Separates the choice of a fraction from other draws at the same positions."""


def mix(values: Tensor) -> Tensor:
    """Return 63-bit hashes of int64 values (the finaliser of splitmix64)."""
    mixed = (values + 1) * -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
    mixed = (mixed ^ _shifted(mixed, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    mixed = (mixed ^ _shifted(mixed, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return _shifted(mixed ^ _shifted(mixed, 31), 1)


def position_keys(index: Tensor, positions: int, purpose: int = 0) -> Tensor:
    """Return one hash per position, ``(rows, positions)``, from the rows' numbers in the data."""
    steps = torch.arange(positions, dtype=torch.int64, device=index.device)
    return mix(mix(index + (purpose << 40)).unsqueeze(-1) + steps)


def row_keys(reading: Reading) -> Tensor:
    """Return one hash per row, ``(rows,)``, equal at all sites and in all processes."""
    assert reading.index is not None
    keys = mix(reading.index)
    return keys if reading.start is None else mix(keys + reading.start)


def sample_keys(reading: Reading, samples: int) -> Tensor:
    """Return one hash per sample of a reading, ``(rows, samples)``, different at every site."""
    steps = torch.arange(samples, dtype=torch.int64, device=reading.values.device)
    return mix(mix(row_keys(reading) + reading.site).unsqueeze(-1) + steps)


def chosen_samples(reading: Reading, samples: int, fraction: float) -> Tensor:
    """Return True for a fixed random fraction of all samples, ``(rows, samples)``."""
    return sample_keys(reading, samples) < _limit(fraction)


def some_samples(reading: Reading, fraction: float) -> Reading:
    """Return a fixed random fraction of the samples of a reading, each as a row of its own.

    A sample is a valid position. The choice is by a hash of the row's number in the data and of the
    position: sites with the same positions give the same samples, in every batch, order and
    process. May have no rows.
    """
    samples = reading.values.shape[1]
    chosen = position_keys(row_keys(reading), samples, _FRACTION) < _limit(fraction)
    if reading.valid is not None:
        chosen = chosen & reading.valid
    row, sample = chosen.nonzero(as_tuple=True)

    def pick(values: Tensor) -> Tensor:
        if not values.is_contiguous():
            return values[row, sample].unsqueeze(1)
        found = values.flatten(0, 1).index_select(0, row * samples + sample)  # many times as fast
        return found.unsqueeze(1)

    return evolve(
        reading,
        values=pick(reading.values),
        gradient=None if reading.gradient is None else pick(reading.gradient),
        partner=None if reading.partner is None else pick(reading.partner),
        valid=None,
        fold=reading.fold[row],
        index=None if reading.index is None else reading.index[row],
        start=sample if reading.start is None else reading.start[row] + sample,
        targets=None if reading.targets is None else reading.targets[row],
        outputs=_outputs_at(reading.outputs, row, sample, samples),
        grid=(),
        shared={},
    )


def _limit(fraction: float) -> int:
    """Return the number that a fraction of all 63-bit hashes is below."""
    return min(int(fraction * float(2**63)), 2**63 - 1)


def _outputs_at(outputs: Tensor | None, row: Tensor, sample: Tensor, samples: int) -> Tensor | None:
    """Return the numbers about the output of some samples, ``(samples, 1, 3)``."""
    if outputs is None:
        return None
    return outputs[row, sample * outputs.shape[1] // samples].unsqueeze(1)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift right without carrying the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
