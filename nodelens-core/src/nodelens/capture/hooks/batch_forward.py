"""What one batch leaves behind between the hooks of its forward and of its backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    """Row sums that show whether everything in a reading was finite.

    `sums` is ``(rows, nodes)``, `rows` the number of each row in the data, `what` says what was
    summed. What is no sum over nodes has one column, and `nodes` False.
    """

    sums: Tensor
    rows: Tensor
    what: str
    nodes: bool = True


@frozen(eq=False)
class BatchRows:
    """What is known of each row of a batch, on one device; `members` is that of a `Reading`."""

    index: Tensor
    fold: Tensor
    members: Tensor
    start: Tensor | None
    targets: Tensor | None


@define(eq=False)
class BatchForward:
    """One batch on its way through the model; everything here is let go of when it has ended.

    `calls` counts the calls of modules. `late` are the hook points that the first forward read
    without a gradient, which a recomputation is to bring; `arrived` counts gradients by labels and
    hook point.
    `outputs` are numbers about the output, once it is there.
    `queue` holds what is read together (`queued` bytes of it), and the version of each tensor.
    `held` waits for the batch's end, `first` for the other tensor of two, `afterwards` for
    the model's output. `shares` are the hook points whose share of the samples was counted.
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
    shares: set[tuple[str, int]] = field(factory=set)

    @classmethod
    def of(cls, batch: Batch) -> BatchForward:
        """Get ready for one forward of `batch`."""
        return cls(batch, batch.numbers.cpu(), segments_of(batch))

    def begin_backward(self, labels: str) -> None:
        """Say whose labels the gradients that now arrive belong to."""
        self.backward, self.labels = True, labels
        self.asked.add(labels)

    def check_gradients(self) -> None:
        """Raise `CaptureError` when a gradient that a statistic reads has not come."""
        missing = [
            name
            for name, point in self.graded.items()
            for labels in self.asked
            if point.requiring(GRADIENTS[labels]) and not self.arrived[labels, name]
        ]
        if missing:
            raise CaptureError(
                f"{len(missing)} sites got no gradient (the first is {missing[0]}): the loss does "
                "not depend on them"
            )

    def check_sums(self) -> None:
        """Raise `NotFiniteError` when a value was not; one look at each device."""
        if not self.sums:
            return
        totals = [each.sums.sum() for each in self.sums]  # of finite row sums: NaN or inf if one is
        finite = torch.stack([each.to(totals[0].device) for each in totals]).isfinite().tolist()
        if all(finite):
            return
        bad = self.sums[finite.index(False)]
        raise NotFiniteError(not_finite(bad.sums, bad.rows, bad.what, bad.nodes))

    def samples_on(self, device: torch.device, folds: int, tokens: bool) -> BatchRows:
        """Return what is known of each row, or of each sequence if there are tokens; made once."""
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

    def first_share(self, point: HookPoint) -> bool:
        """Return whether samples of a hook point are chosen for the first time; they stay so."""
        key = (point.name, point.number)
        known = key in self.shares
        self.shares.add(key)
        return not known

    @property
    def rows(self) -> Tensor:
        """The number of each row in the data; packed sequences have that of their row."""
        return self.numbers if self.segments is None else self.numbers[self.segments.row.cpu()]

    @property
    def mask(self) -> Tensor | None:
        """Which tokens are no padding, ``(rows, tokens)``; of packed rows, by sequence."""
        if self.segments is not None:
            return self.segments.valid
        return None if self.batch.mask is None else self.batch.mask.bool()

    def mask_of(self, length: int | None) -> Tensor | None:
        """Return the mask of rows with that many tokens: the decoder's, or `mask`."""
        other = self.batch.decoder_mask
        return other if other is not None and other.shape[1] == length else self.mask

    @property
    def start(self) -> Tensor | None:
        """Where each packed sequence starts in its row."""
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
    """Return how often a tensor was written in place; 0 of those that do not count it."""
    return 0 if tensor.is_inference() else tensor._version


def check_unchanged(point: HookPoint, tensor: Tensor, version: int) -> None:
    """Raise `CaptureError` when a tensor was written in place since `version_of` it."""
    if version_of(tensor) != version:
        raise CaptureError(
            f"{point.site.name} was overwritten in place later on, which the example that "
            "the channels were inferred on does not do; give an example that takes the same path"
        )
