"""Random choices that belong to a sample, not to a batch, an order or a process."""

from __future__ import annotations

import torch
from torch import Tensor

from nodelens.statistics.contract import Reading


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
    """Return one hash per row, ``(rows,)``: the same at every site and in every process."""
    assert reading.index is not None
    keys = mix(reading.index)
    return keys if reading.start is None else mix(keys + reading.start)


def sample_keys(reading: Reading, samples: int) -> Tensor:
    """Return one hash per sample of a reading, ``(rows, samples)``, different at every site."""
    steps = torch.arange(samples, dtype=torch.int64, device=reading.values.device)
    return mix(mix(row_keys(reading) + reading.site).unsqueeze(-1) + steps)


def chosen_samples(reading: Reading, samples: int, share: float) -> Tensor:
    """Return True for a fixed random share of all samples, ``(rows, samples)``."""
    return sample_keys(reading, samples) < int(share * float(2**63))


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift right without carrying the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
