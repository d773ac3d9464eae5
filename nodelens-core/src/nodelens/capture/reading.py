"""From a tensor at a site to ``(rows, positions, nodes)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nodelens.capture.batches import Batch
from nodelens.channels.groups import Site
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Reading
from nodelens.statistics.rows import upcast


def nodes_of(tensor: Tensor, site: Site, rows: int) -> Tensor:
    """Return ``(rows, positions, nodes)``: all but the row and node axes are positions.

    The first axis must run over rows, or over rows × positions.
    """
    values = site.extent.nodes_last(tensor, site.axis)
    if values.shape[0] % rows:
        raise CaptureError(
            f"{site.name}: the first axis of {tuple(tensor.shape)} is not made of {rows} samples; "
            "batches must run along the first axis"
        )
    return values.reshape(rows, -1, site.extent.width)


def valid_positions(batch: Batch, positions: int) -> Tensor | None:
    """Return ``(rows, positions)`` of bool: the batch's mask, repeated over what a token holds."""
    if batch.mask is None or positions % batch.mask.shape[1]:
        return None
    return batch.mask.bool().repeat_interleave(positions // batch.mask.shape[1], dim=1)


def folds_of(first: int, rows: int, folds: int, device: torch.device) -> Tensor:
    """Return the fold of each row, ``(rows,)``: a hash of the sample's index (splitmix64).

    The same sample is in the same fold whatever the batching, the order or the process.
    """
    index = torch.arange(first, first + rows, dtype=torch.int64, device=device)
    mixed = (index + 1) * -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
    mixed = (mixed ^ _shifted(mixed, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    mixed = (mixed ^ _shifted(mixed, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 1) % folds


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift right without carrying the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def check_finite(values: Tensor, site: Site, batch: Batch, what: str) -> None:
    """Raise `CaptureError` naming site, rows and nodes when `values` holds NaN or infinity."""
    if bool(upcast(values).sum(dtype=torch.float64).isfinite()):
        return
    bad = ~values.isfinite()
    if not bool(bad.any()):
        return
    nodes = bad.any(dim=0).any(dim=0).nonzero().flatten().tolist()
    rows = (bad.any(dim=2).any(dim=1).nonzero().flatten() + batch.first).tolist()
    raise CaptureError(
        f"{what} at {site.name} is not finite: nodes {_some(nodes)}, samples {_some(rows)}; "
        "look at these samples, or run the model in float32"
    )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def joined(readings: Sequence[Reading]) -> Reading:
    """Return readings of the same rows at several sites as one, their positions side by side."""
    first = readings[0]
    gradients = [reading.gradient for reading in readings if reading.gradient is not None]
    return Reading(
        values=torch.cat([reading.values for reading in readings], dim=1),
        fold=first.fold,
        gradient=torch.cat(gradients, dim=1) if gradients else None,
        valid=_joined_valid(readings),
        targets=first.targets,
    )


def _joined_valid(readings: Sequence[Reading]) -> Tensor | None:
    if all(reading.valid is None for reading in readings):
        return None
    parts = [
        torch.ones_like(reading.values[..., 0], dtype=torch.bool)
        if reading.valid is None
        else reading.valid
        for reading in readings
    ]
    return torch.cat(parts, dim=1)
