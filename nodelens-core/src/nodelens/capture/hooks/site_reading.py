"""Tensors at sites brought to ``(rows, positions, nodes)``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, evolve, frozen
from torch import Tensor

from nodelens.errors import CaptureError
from nodelens.interfaces.statistic import Reading
from nodelens.statistics.moments import row_means
from nodelens.statistics.rows import row_counts
from nodelens.statistics.sample_draws import mix
from nodelens.statistics.sums import joined_sums

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import Rows, Site

_GONE = "gone"
"""The key that marks a reading without values."""


def samples_first(tensor: Tensor, where: Rows, rows: int, name: str) -> Tensor:
    """Return a view ``(rows, positions, …)`` with the other axes in their order.

    Raises `CaptureError` where the axis of the samples is not made of `rows` of them.
    """
    if tensor.ndim <= where.axis or tensor.shape[where.axis] % rows:
        raise CaptureError(
            f"{name}: axis {where.axis} of {tuple(tensor.shape)} is not made of {rows} samples; "
            "batches must run along the first axis of the model's inputs"
        )
    return where.first(tensor, rows)


def nodes_of(tensor: Tensor, site: Site, where: Rows, rows: int, components: int) -> Tensor:
    """Return the nodes of a tensor at a site, ``(rows, *positions, nodes · components)``.

    Where nodes have one component, several numbers of a node side by side are positions.
    """
    apart = samples_first(tensor, where, rows, site.name)
    axis = site.axis % tensor.ndim
    found = site.extent.nodes_last(apart, _apart(axis, where))
    if components == 1:
        return found.flatten(-3, -2)
    if site.stacked is None or site.numbers[0] == 1:
        return found.movedim(-1, -3).flatten(-3).unsqueeze(-2)
    over = _apart(site.stacked, where)
    found = found.movedim(over - (over > _apart(axis, where)), -4)
    return found.movedim(-1, -4).flatten(-4).unsqueeze(-2)


def _apart(axis: int, where: Rows) -> int:
    """Return the place of an axis where samples and positions are two axes before all others."""
    return axis + 1 + (axis < where.axis)


def plain_nodes(
    tensor: Tensor, site: Site, where: Rows, rows: int, components: int
) -> Tensor | None:
    """Return ``(rows, positions, nodes)`` of a tensor that has an axis of nodes and one of samples.

    None for any other tensor, for which `nodes_of` is needed, which takes several times as long.
    """
    shape, extent = tensor.shape, site.extent
    axis = site.axis % len(shape)
    mixed = components > 1 and extent.outer > 1
    if where.axis or not axis or shape[0] != rows or mixed:
        return None
    if shape[axis] != extent.width * components:
        return None
    if len(shape) == 2:
        return tensor.unsqueeze(1)
    return tensor.flatten(2).mT if axis == 1 else tensor.movedim(axis, -1).flatten(1, -2)


def grid_of(tensor: Tensor, site: Site, where: Rows, rows: int) -> tuple[int, ...]:
    """Return the shape of the positions of a feature map ``(rows, nodes, height, width)``."""
    plain = site.numbers == (1, 1, 1)
    if tensor.ndim < 4 or not plain or where.axis or len(tensor) != rows:
        return ()
    axis = site.axis % tensor.ndim
    return tuple(size for number, size in enumerate(tensor.shape) if number not in (0, axis))


@frozen(eq=False)
class Positions:
    """Values as ``(rows, positions, nodes)``; `tokens` says whether a mask covers the positions.

    Pooled values have no tokens. `length` is the number of tokens of a row.
    """

    values: Tensor
    tokens: bool
    length: int | None = None


def flat_positions(values: Tensor, length: int | None, name: str) -> Positions:
    """Return the positions of ``(rows, *positions, side by side, nodes)`` in one axis.

    Where the batch has a mask or segments of `length` tokens, their axis comes first, so that the
    values of one token lie together. Raises `CaptureError` where no axis fits the tokens.
    """
    axes = values.shape[1:-2]
    if length is None or (prod(axes) == 1 and length > 1):
        return Positions(values.flatten(1, -2), tokens=False)
    if length in axes:
        values = values.movedim(axes.index(length) + 1, 1)
    elif prod(axes) % length:
        raise CaptureError(
            f"{name} has positions {tuple(axes)} in a sample and the mask of the batch has "
            f"{length}, so that padding is unknown; give a nodelens Batch without a mask to "
            "count all positions"
        )
    return Positions(values.flatten(1, -2), tokens=True, length=length)


def valid_positions(mask: Tensor, values: Tensor) -> Tensor:
    """Return a mask of tokens, repeated over the values of a token, ``(rows, positions)`` bool."""
    return mask.to(values.device).repeat_interleave(values.shape[1] // mask.shape[1], dim=1)


def folds_of(index: Tensor, folds: int) -> Tensor:
    """Return the fold of each row, ``(rows,)``, by a hash of the sample's number in the data.

    A sample has one fold, whatever the batching, the order or the process.
    """
    return mix(index) % folds


@frozen(eq=False)
class Segments:
    """The places of sequences in packed rows: each becomes a row of its own, tokens first.

    `source`, ``(sequences, length)``, counts positions over all rows; `valid` is False beyond the
    end of a sequence; `row`, ``(sequences,)``, is the row that a sequence lies in; `length` is the
    number of positions of a packed row. `start`, ``(sequences,)``, is where a sequence starts in
    its row, None for rows that hold one sequence.
    """

    source: Tensor
    valid: Tensor
    row: Tensor
    length: int
    start: Tensor | None = None

    def unpack(self, values: Tensor) -> Tensor:
        """Return ``(rows, length · k, nodes)`` as ``(sequences, longest · k, nodes)``."""
        rows, positions, nodes = values.shape
        flat = values.reshape(rows * self.length, positions // self.length, nodes)
        return flat[self.source.to(values.device)].reshape(len(self.row), -1, nodes)


def segments_of(batch: Batch) -> Segments | None:
    """Return the places of the sequences of a batch, None if each row starts with its only one.

    Rows that are padded left are moved to their start, so that a token has the same number however
    a row is padded.
    """
    if batch.segments is None:
        if batch.decoder_mask is not None:  # two kinds of rows: they are kept as they are
            return None
        padded_left = batch.mask is not None and not bool(batch.mask[:, 0].all())
        return _moved(batch.mask.bool()) if batch.mask is not None and padded_left else None
    real = torch.ones_like(batch.segments, dtype=torch.bool)
    return _unpacked(batch.segments, real if batch.mask is None else batch.mask.bool())


def _moved(mask: Tensor) -> Segments:
    rows, length = mask.shape
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    row = torch.arange(rows, device=mask.device)
    return Segments(order + row.unsqueeze(1) * length, mask.gather(1, order), row, length)


def _unpacked(segments: Tensor, real: Tensor) -> Segments:
    rows, length = segments.shape
    keys = torch.arange(rows, device=real.device).unsqueeze(1) << 32
    flat = (keys + segments).flatten()
    positions = torch.arange(rows * length, device=real.device)[real.flatten()]
    _, member, counts = torch.unique(flat[positions], return_inverse=True, return_counts=True)
    order = member.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=order.device) - starts.repeat_interleave(counts)
    source = positions.new_zeros(len(counts), int(counts.max()))
    valid = torch.zeros_like(source, dtype=torch.bool)
    source[member[order], place] = positions[order]
    valid[member[order], place] = True
    first = source[:, 0]
    return Segments(source, valid, first // length, length, first % length)


def on_device(reading: Reading, device: torch.device) -> Reading:
    """Return a reading with all of its tensors on a device."""
    return reading if reading.values.device == device else carried(reading, device)


def carried(reading: Reading, device: torch.device) -> Reading:
    """Return a copy of a reading on a device; a reading without values is copied with its sums."""
    tensors: dict[str, Any] = {
        name: value.to(device)
        for name, value in asdict(reading, recurse=False).items()
        if isinstance(value, Tensor)
    }
    if _GONE not in reading.shared:
        return evolve(reading, **tensors, shared={})
    tensors["values"] = _stand_in(reading.values.shape, reading.values.dtype, device)
    shared = reading.shared.items()
    sums = {key: tuple(each.to(device) for each in found) for key, found in shared}
    return evolve(reading, **tensors, shared=sums)


def not_finite(sums: Tensor, index: Tensor, what: str, nodes: int) -> str:
    """Return in words the nodes and samples whose row sums have a NaN or an infinity.

    `sums` is ``(rows, nodes · components)``: a sum over positions is finite only if all of them
    are. `nodes` is 0 for sums of no nodes. `index`, ``(rows,)``, is the number of each row in the
    data.
    """
    bad = ~sums.isfinite()
    rows = index[bad.any(dim=1).nonzero().flatten().to(index.device)].tolist()
    of_nodes = ""
    if nodes:
        of_each = bad.any(dim=0).view(nodes, -1).any(dim=1)
        of_nodes = f"nodes {_some(of_each.nonzero().flatten().tolist())}, "
    return (
        f"{what} is not finite: {of_nodes}samples {_some(rows)}; look at these samples, or run the "
        "model in float32"
    )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def by_row(reading: Reading) -> Reading:
    """Return a reading with one position per row: the mean of the positions that count."""
    rows = row_counts(reading).unsqueeze(-1) > 0
    means = row_means(reading).unsqueeze(1)
    valid = None if reading.valid is None else rows
    return evolve(reading, values=means, valid=valid, grid=(), shared={})


def beside(first: Reading, second: Reading) -> Reading:
    """Return the reading of a pair: position by position, or row means where positions differ."""
    if first.values.shape[1] != second.values.shape[1]:
        first, second = by_row(first), by_row(second)
    return evolve(first, partner=second.values, shared={})


def without_values(reading: Reading) -> Reading:
    """Return a reading with its shared sums alone: NaN takes the place of the values."""
    values = _stand_in(reading.values.shape, reading.values.dtype, reading.values.device)
    shared = {**reading.shared, _GONE: ()}
    return evolve(reading, values=values, gradient=None, shared=shared)


@lru_cache
def _stand_in(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return NaN in the shape of values, without their memory."""
    return torch.full((), torch.nan, dtype=dtype, device=device).expand(shape)


def joined(readings: Sequence[Reading]) -> Reading:
    """Return readings of one batch at several sites as one, with positions side by side."""
    first = readings[0]
    if len(readings) == 1:
        return first
    device = first.values.device
    readings = [
        each if each.values.device == device else carried(each, device) for each in readings
    ]
    gradients = [reading.gradient for reading in readings if reading.gradient is not None]
    return Reading(
        values=_side_by_side(readings),
        fold=first.fold,
        gradient=torch.cat(gradients, dim=1) if gradients else None,
        valid=_joined_valid(readings),
        targets=first.targets,
        index=first.index,
        components=first.components,
        pivot=first.pivot,
        start=first.start,
        outputs=_joined_outputs(readings),
        shared=joined_sums(readings) | ({_GONE: ()} if _all_gone(readings) else {}),
    )


def _all_gone(readings: Sequence[Reading]) -> bool:
    return all(_GONE in reading.shared for reading in readings)


def _side_by_side(readings: Sequence[Reading]) -> Tensor:
    """Return the positions of all readings side by side, NaN where the values were dropped."""
    values = [reading.values for reading in readings]
    if not _all_gone(readings):
        return torch.cat(values, dim=1)
    rows, _, nodes = values[0].shape
    return values[0][:, :1].expand(rows, sum(each.shape[1] for each in values), nodes)


def _joined_outputs(readings: Sequence[Reading]) -> Tensor | None:
    """Return the numbers about the output of each position, or of each row."""
    found = [reading.outputs for reading in readings if reading.outputs is not None]
    if not found or found[0].shape[1] == 1:
        return found[0] if found else None
    return torch.cat(found, dim=1)


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
