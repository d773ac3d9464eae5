"""Everything kept about one batch between the hooks of its forward and backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from nodelens.capture.batches import Batch
from nodelens.capture.hooks.hook_points import GRADIENTS, HookPoint
from nodelens.capture.hooks.site_reading import Segments, folds_of, not_finite, segments_of
from nodelens.capture.plan.capture_plan import Entry
from nodelens.errors import CaptureError, NotFiniteError
from nodelens.interfaces.statistic import Reading, Statistic, members_of


@frozen(eq=False)
class FiniteCheck:
    """Row sums of one reading, which are finite only if all values are.

    `sums` is ``(rows, nodes)``, or has a column for each component of a node, `rows` the number of
    each row in the data, `what` names the summed values in words. Sums of no nodes have 0 `nodes`.
    """

    sums: Tensor
    rows: Tensor
    what: str
    nodes: int


@frozen(eq=False)
class BatchRows:
    """Number, fold and label of each row of a batch, on one device; see `Reading.members`."""

    index: Tensor
    fold: Tensor
    members: Tensor
    start: Tensor | None
    targets: Tensor | None


@define(eq=False)
class BatchForward:
    """The record of one batch during forward and backward pass, released at its end.

    `calls` counts the calls of modules. `late` are the hook points that the first forward read
    without a gradient, which a recomputation is to compute; `arrived` counts gradients by labels
    and hook point. `outputs` are numbers about the model's output. `queue` holds tensors that are
    read together (`queued` bytes), with the version of each. `held` waits for the batch's end,
    `first` for the other tensor of two, `afterwards` for the model's output. `chosen` are the hook
    points whose chosen samples were counted.
    """

    batch: Batch
    numbers: Tensor
    segments: Segments | None
    backward: bool = False
    labels: str = "data"
    asked: set[str] = field(factory=set)
    calls: Counter[str] = field(factory=Counter)
    graded: dict[str, HookPoint] = field(factory=dict)
    late: set[str] = field(factory=set)
    arrived: Counter[tuple[str, str]] = field(factory=Counter)
    sums: list[FiniteCheck] = field(factory=list)
    held: list[tuple[Entry, Sequence[Statistic[Any]], Reading]] = field(factory=list)
    queue: list[tuple[HookPoint, nn.Module, Tensor, int]] = field(factory=list)
    queued: int = 0
    first: dict[str, Reading] = field(factory=dict)
    afterwards: list[tuple[HookPoint, Reading, int]] = field(factory=list)
    outputs: Tensor | None = None
    samples: dict[tuple[bool, torch.device], BatchRows] = field(factory=dict)
    chosen: set[tuple[str, int]] = field(factory=set)

    @classmethod
    def of(cls, batch: Batch) -> BatchForward:
        """Return the record for one forward of `batch`."""
        return cls(batch, batch.numbers.cpu(), segments_of(batch))

    def begin_backward(self, labels: str) -> None:
        """Set whose labels the coming gradients belong to."""
        self.backward, self.labels = True, labels
        self.asked.add(labels)

    def without_gradient(self) -> Iterator[tuple[HookPoint, Sequence[Statistic[Any]]]]:
        """Yield hook points, and the statistics of each whose gradient has not arrived."""
        for name, point in self.graded.items():
            for labels in self.asked:
                waiting = point.requiring(GRADIENTS[labels])
                if waiting and not self.arrived[labels, name]:
                    yield point, waiting

    def check_sums(self) -> None:
        """Raise `NotFiniteError` when a value was not finite; one transfer per device."""
        if not self.sums:
            return
        totals = [each.sums.sum() for each in self.sums]  # of finite row sums: NaN or inf if one is
        finite = torch.stack([each.to(totals[0].device) for each in totals]).isfinite().tolist()
        if all(finite):
            return
        bad = self.sums[finite.index(False)]
        raise NotFiniteError(not_finite(bad.sums, bad.rows, bad.what, bad.nodes))

    def samples_on(self, device: torch.device, folds: int, tokens: bool) -> BatchRows:
        """Return the records of all rows, or of all sequences if there are tokens; made once."""
        if (tokens, device) not in self.samples:
            numbers = self.rows if tokens else self.numbers
            fold, labels = folds_of(numbers, folds), self.batch.targets
            start = self.start if tokens else None
            self.samples[tokens, device] = BatchRows(
                numbers.to(device),
                fold.to(device),
                members_of(fold, folds).to(device),
                None if start is None else start.to(device),
                labels.to(device) if labels is not None and labels.ndim == 1 else None,
            )
        return self.samples[tokens, device]

    def first_choice(self, point: HookPoint) -> bool:
        """Return whether samples of a hook point are chosen for the first time in the batch."""
        key = (point.name, point.number)
        known = key in self.chosen
        self.chosen.add(key)
        return not known

    @property
    def rows(self) -> Tensor:
        """The number of each row in the data; packed sequences have that of their row."""
        return self.numbers if self.segments is None else self.numbers[self.segments.row.cpu()]

    @property
    def mask(self) -> Tensor | None:
        """True for tokens that are no padding, ``(rows, tokens)``; by sequence for packed rows."""
        if self.segments is not None:
            return self.segments.valid
        return None if self.batch.mask is None else self.batch.mask.bool()

    def mask_of(self, length: int | None) -> Tensor | None:
        """Return the mask of rows with `length` tokens: the decoder's, or `mask`."""
        other = self.batch.decoder_mask
        return other if other is not None and other.shape[1] == length else self.mask

    @property
    def start(self) -> Tensor | None:
        """The start of each packed sequence in its row, None for whole rows."""
        return None if self.segments is None else self.segments.start

    def outputs_for(self, reading: Reading, outputs: Tensor | None) -> Tensor | None:
        """Return numbers about the output for the rows of a reading, on its device."""
        if outputs is None:
            return None
        segments = self.segments
        if segments is not None and outputs.shape[1] == segments.length:
            outputs = segments.unpack(outputs)
        elif segments is not None:
            outputs = outputs[segments.row.to(outputs.device)]
        return outputs.to(reading.values.device)


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written in place; 0 for tensors without a count."""
    return 0 if tensor.is_inference() else tensor._version


def check_unchanged(point: HookPoint, tensor: Tensor, version: int) -> None:
    """Raise `CaptureError` when a tensor was written in place since `version_of` it."""
    if version_of(tensor) != version:
        raise CaptureError(
            f"{point.site.name} was overwritten in place later on, which the example that "
            "the channels were inferred on does not do; give an example that takes the same path"
        )
