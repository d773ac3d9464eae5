"""From a tensor at a site to ``(rows, positions, nodes)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from nodelens.capture.batches import Batch
from nodelens.channels.groups import ChannelGroup, Site
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Reading
from nodelens.statistics.rows import swept
from nodelens.statistics.sampling import mix


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


def grid_of(tensor: Tensor, site: Site) -> tuple[int, ...]:
    """Return the shape of the positions of a feature map ``(rows, nodes, height, width)``."""
    plain = site.extent.inner * site.extent.outer == 1
    if tensor.ndim < 4 or not plain:
        return ()
    axis = site.axis % tensor.ndim
    return tuple(size for number, size in enumerate(tensor.shape) if number not in (0, axis))


def parts_of(group: ChannelGroup) -> int:
    """Return how many components a node has: the dimensions of a head, 1 of a channel.

    Positions that a flatten puts beside each other are no components: the producer writes one.
    """
    extents = [part.extent for part in group.role("producer")]
    extents += [site.extent for site in group.sites]
    return min((extent.inner * extent.outer for extent in extents), default=1)


def valid_positions(batch: Batch, positions: int) -> Tensor | None:
    """Return ``(rows, positions)`` of bool: the batch's mask, repeated over what a token holds."""
    if batch.mask is None or positions % batch.mask.shape[1]:
        return None
    return batch.mask.bool().repeat_interleave(positions // batch.mask.shape[1], dim=1)


def folds_of(index: Tensor, folds: int) -> Tensor:
    """Return the fold of each row, ``(rows,)``: a hash of the sample's number in the data.

    The same sample is in the same fold whatever the batching, the order or the process.
    """
    return mix(index) % folds


@frozen(eq=False)
class Segments:
    """Where the sequences of packed rows lie: each becomes a row of its own.

    `source`, ``(sequences, length)``, counts positions over all rows; `valid` is False beyond the
    end of a sequence; `row`, ``(sequences,)``, is the row that a sequence lies in; `length` is the
    number of positions of a packed row.
    """

    source: Tensor
    valid: Tensor
    row: Tensor
    length: int

    def unpack(self, values: Tensor) -> Tensor:
        """Return ``(sequences, longest · k, nodes)`` of ``(rows, length · k, nodes)``."""
        rows, positions, nodes = values.shape
        repeats = positions // self.length
        flat = values.reshape(rows * self.length, repeats, nodes)
        return flat[self.source].reshape(len(self.row), -1, nodes)


def segments_of(batch: Batch) -> Segments | None:
    """Return where the sequences of a batch of packed rows lie, None if rows are not packed."""
    if batch.segments is None:
        return None
    rows, length = batch.segments.shape
    real = torch.ones_like(batch.segments, dtype=torch.bool) if batch.mask is None else batch.mask
    keys = torch.arange(rows, device=real.device).unsqueeze(1) << 32
    flat = (keys + batch.segments).flatten()
    positions = torch.arange(rows * length, device=real.device)[real.flatten()]
    _, member, counts = torch.unique(flat[positions], return_inverse=True, return_counts=True)
    order = member.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=order.device) - starts.repeat_interleave(counts)
    source = positions.new_zeros(len(counts), int(counts.max()))
    valid = torch.zeros_like(source, dtype=torch.bool)
    source[member[order], place] = positions[order]
    valid[member[order], place] = True
    return Segments(source, valid, source[:, 0] // length, length)


def check_finite(sums: Tensor, name: str, index: Tensor, what: str) -> None:
    """Raise `CaptureError` naming site, rows and nodes when row sums hold NaN or infinity.

    `sums` is ``(rows, nodes)``: a sum over positions is finite only if all of them are.
    """
    bad = ~sums.isfinite()
    nodes = bad.any(dim=0).nonzero().flatten().tolist()
    rows = index[bad.any(dim=1).nonzero().flatten().to(index.device)].tolist()
    raise CaptureError(
        f"{what} at {name} is not finite: nodes {_some(nodes)}, samples {_some(rows)}; "
        "look at these samples, or run the model in float32"
    )


def finite_sums(reading: Reading, gradient: bool) -> Tensor:
    """Return sums over the positions of each row, ``(rows, nodes)``, which show what is not finite.

    Sums that a statistic has already taken are used again.
    """
    for key, (sums, _) in reading.shared.items():
        if key == "gates" if gradient else (isinstance(key, tuple) and key[0] == "powers"):
            found: Tensor = sums[0]
            return found
    tensor = reading.gradient if gradient else reading.values
    assert tensor is not None
    return swept(reading, lambda rows: (tensor[rows].double().sum(1),))[0]


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
        index=first.index,
        parts=first.parts,
        pivot=first.pivot,
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
