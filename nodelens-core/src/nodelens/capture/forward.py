"""What one batch leaves behind between the hooks of its forward and of its backward pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor

from nodelens.capture.batches import Batch
from nodelens.capture.plan import Entry
from nodelens.capture.reading import Segments, check_finite, folds_of, segments_of
from nodelens.capture.taps import GRADIENTS, Tap
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Reading, Statistic


@frozen(eq=False)
class Sums:
    """Row sums that show whether everything in a reading was finite."""

    sums: Tensor
    name: str
    what: str


@define(eq=False)
class Forward:
    """One batch on its way through the model; everything here is let go of when it has ended.

    `calls` counts the calls of modules. `late` are the taps that the first forward read without a
    gradient, which a recomputation is to bring; `arrived` counts gradients by labels and tap.
    `outputs` are numbers about the output, once it is there.
    `held` waits for all sites of a group, `second` for the other tensor of two, `afterwards` for
    the model's output.
    """

    batch: Batch
    numbers: Tensor
    segments: Segments | None
    backward: bool = False
    labels: str = "data"
    asked: set[str] = field(factory=set)
    calls: Counter[str] = field(factory=Counter)
    graded: dict[str, Tap] = field(factory=dict)
    late: set[str] = field(factory=set)
    arrived: Counter[tuple[str, str]] = field(factory=Counter)
    sums: list[Sums] = field(factory=list)
    held: dict[tuple[str, Statistic[Any]], tuple[Entry, list[Reading]]] = field(factory=dict)
    first: dict[str, Reading] = field(factory=dict)
    afterwards: list[tuple[Tap, Reading, int]] = field(factory=list)
    outputs: Tensor | None = None
    fold: dict[bool, Tensor] = field(factory=dict)

    @classmethod
    def of(cls, batch: Batch) -> Forward:
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
            for name, tap in self.graded.items()
            for labels in self.asked
            if tap.requiring(GRADIENTS[labels]) and not self.arrived[labels, name]
        ]
        if missing:
            raise CaptureError(
                f"{len(missing)} sites got no gradient (the first is {missing[0]}): the loss does "
                "not depend on them"
            )

    def check_sums(self) -> None:
        """Raise `CaptureError` when a value was not finite; one look at each device."""
        if not self.sums:
            return
        flags = [each.sums.isfinite().all() for each in self.sums]
        if bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all()):
            return
        bad = next(each for each, flag in zip(self.sums, flags, strict=True) if not flag)
        check_finite(bad.sums, bad.name, self.rows, bad.what)

    def folds(self, folds: int, tokens: bool) -> Tensor:
        """Return the fold of each row, or of each sequence if there are tokens; worked out once."""
        if tokens not in self.fold:
            self.fold[tokens] = folds_of(self.rows if tokens else self.numbers, folds)
        return self.fold[tokens]

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


def version_of(reading: Reading) -> int:
    """Return how often the values were written in place; 0 of tensors that do not count it."""
    return 0 if reading.values.is_inference() else reading.values._version


def check_unchanged(tap: Tap, reading: Reading, version: int) -> None:
    """Raise `CaptureError` when the values were written in place since `version_of` them."""
    if version_of(reading) != version:
        raise CaptureError(
            f"{tap.site.name} was overwritten in place after it was read, which the example that "
            "the channels were inferred on does not do; give an example that takes the same path"
        )
