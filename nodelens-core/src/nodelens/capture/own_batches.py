"""Batches of a user's own, read as the model takes them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, evolve, field, frozen
from torch.nn import functional

from nodelens.capture.batches import Batch, as_batch
from nodelens.capture.label_values import TARGET_KEYS
from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED

if TYPE_CHECKING:
    from torch import nn

    from nodelens.interfaces.loss import LabelMeaning

log = logging.getLogger("nodelens")
ENDLESS = 100_000
"""The samples of an iterator without a length after which a log line says that it goes on."""


def label_parameters(model: nn.Module) -> frozenset[str]:
    """Return the names of labels that are parameters of a model's forward."""
    try:
        names = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):  # some callables have no signature
        return frozenset()
    return frozenset(key for key in TARGET_KEYS if key in names)


def with_labels(value: Any) -> Any:
    """Return a mapping with ``labels`` where it has ``label``, as transformers' collators do."""
    if not isinstance(value, Mapping) or "label" not in value or "labels" in value:
        return value
    return {("labels" if key == "label" else key): each for key, each in value.items()}


@frozen(eq=False)
class BatchReader:
    """Reads what a user gives as a batch.

    `takes` are the labels that the model takes as arguments, `labels` says what those of a mapping
    mean to the model, and `class_names` are the classes of labels that are text. `as_given` keeps
    the labels of a mapping in their places, for a loss that is a function of the user's.
    """

    takes: frozenset[str] = frozenset()
    labels: LabelMeaning | None = None
    class_names: tuple[str, ...] = ()
    as_given: bool = False

    def read(self, value: Any) -> Batch:
        """Return a `Batch`; raises `DataError` for what cannot be read as one."""
        if isinstance(value, Batch):
            return value
        named = value if self.labels is None else with_labels(value)
        batch = as_batch(named, takes=self.takes, class_names=self.class_names)
        if self.labels is None:
            return self._passed_on(batch)
        return batch if batch.args else self._aligned(batch, self.labels)

    def _passed_on(self, batch: Batch) -> Batch:
        """Return a pair with its labels as the argument that the model takes, if it takes any."""
        if not batch.args or batch.targets is None or not self.takes:
            return batch
        key = next(each for each in TARGET_KEYS if each in self.takes)
        return evolve(batch, kwargs={**batch.kwargs, key: batch.targets})

    def _aligned(self, batch: Batch, meaning: LabelMeaning) -> Batch:
        """Return a mapping's batch with its labels in the places of the outputs."""
        if "labels" not in batch.kwargs:
            return batch
        if meaning.kept:
            batch = _decoded(batch)
        else:
            others = {key: each for key, each in batch.kwargs.items() if key != "labels"}
            batch = evolve(batch, kwargs=others)
        return batch if self.as_given else evolve(batch, targets=meaning.targets(batch))


def _decoded(batch: Batch) -> Batch:
    """Return a batch whose labels are read by a decoder, with the mask of its positions.

    A label of -100 is padding. Where sources have as many positions, the labels get one more: the
    two kinds are distinguished by their number.
    """
    labels = batch.kwargs["labels"]
    counted = labels != IGNORED
    if batch.decoder_mask is not None or (batch.mask is None and bool(counted.all())):
        return batch
    sources = batch.mask if batch.mask is not None else batch.kwargs.get("input_ids")
    if sources is not None and sources.shape[1] == labels.shape[1]:
        labels = functional.pad(labels, (0, 1), value=IGNORED)
        counted = functional.pad(counted, (0, 1), value=False)
    kwargs = {**batch.kwargs, "labels": labels}
    return evolve(batch, kwargs=kwargs, targets=labels, decoder_mask=counted)


@define(eq=False)
class OwnBatches:
    """A user's batches, read one by one, up to a number of samples.

    `seen` are the smallest and the largest class number of the labels.
    """

    values: Iterable[Any]
    reader: BatchReader
    samples: int | None = None
    classes: bool = True
    seen: tuple[int, int] | None = field(init=False, default=None)

    def first(self, value: Any) -> Batch:
        """Return a value as the first batch."""
        return evolve(self._read(value, 1, 0), number=1)

    def __iter__(self) -> Iterator[Batch]:
        read = 0
        for number, value in enumerate(self.values, start=1):
            batch = self._read(value, number, read)
            yield batch
            read += batch.rows
            if self.samples is not None and read >= self.samples:
                return
            self._tell(read, batch.rows)

    def _read(self, value: Any, number: int, read: int) -> Batch:
        try:
            batch = self.reader.read(value)
            left = None if self.samples is None else self.samples - read
            batch = batch if left is None else _first_rows(batch, left)
        except DataError as error:
            raise DataError(f"batch {number}: {error}") from error
        self._note(batch)
        return batch

    def warnings(self) -> Iterator[str]:
        """Yield a warning where all labels that were read are of one class."""
        if self.seen is not None and self.seen[0] == self.seen[1] and self.classes:
            yield (
                f"all labels are of class {self.seen[0]}: nothing can be learned from them, and "
                "scores of the loss say little"
            )

    def _note(self, batch: Batch) -> None:
        """Keep the smallest and the largest class number."""
        targets = batch.targets
        if targets is None or targets.is_floating_point():
            return
        counted = targets[targets != IGNORED]
        if counted.numel():
            both = int(counted.min()), int(counted.max())
            before = self.seen or both
            self.seen = min(both[0], before[0]), max(both[1], before[1])

    def _tell(self, read: int, rows: int) -> None:
        """Say once that an iterator without a length goes on."""
        if not isinstance(self.values, Sized) and read - rows < ENDLESS <= read:
            log.warning(
                "%s samples were read and more come; give samples= if these batches never end", read
            )


def _first_rows(batch: Batch, count: int) -> Batch:
    """Return the first rows of a batch, which are numbered anew by the capture."""
    if batch.rows <= count:
        return batch
    some = batch.rows_where(torch.arange(batch.rows) < count)
    return some if batch.index is not None else evolve(some, index=None)
