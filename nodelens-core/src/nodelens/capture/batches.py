"""Batches of any common shape, brought into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn

from nodelens.errors import DataError

_TARGET_KEYS = ("labels", "label", "targets", "target")


@frozen(eq=False)
class Batch:
    """One batch: what the model is called with, labels, and which positions count.

    `mask`, ``(rows, positions)`` of bool, is False at padding. `first` is the index in the data of
    the batch's first row, so that every row has the same fold whatever the batching; `index`,
    ``(rows,)`` int64, gives every row's own where they do not follow each other. `segments`,
    ``(rows, positions)`` of integers, numbers the sequences of packed rows: equal numbers in a row
    are one sequence, which statistics of whole rows then take as their unit.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(factory=dict)
    targets: Tensor | None = None
    mask: Tensor | None = None
    first: int = 0
    index: Tensor | None = None
    segments: Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of independent samples."""
        return len(self._leading())

    @property
    def numbers(self) -> Tensor:
        """The number of each row in the data, ``(rows,)`` int64."""
        if self.index is not None:
            return self.index
        return torch.arange(self.first, self.first + self.rows, dtype=torch.int64)

    @property
    def length(self) -> int | None:
        """The number of tokens of a row, where the batch says something of each; else None."""
        found = self.segments if self.mask is None else self.mask
        return None if found is None else found.shape[1]

    def rows_where(self, chosen: Tensor) -> Batch:
        """Return the rows where `chosen`, ``(rows,)`` of bool, is True."""
        rows = self.rows

        def pick(value: Any) -> Any:  # noqa: ANN401 - whatever the model takes
            if isinstance(value, Tensor) and value.ndim and len(value) == rows:
                return value[chosen.to(value.device)]
            return value

        return evolve(
            self,
            args=tuple(pick(value) for value in self.args),
            kwargs={key: pick(value) for key, value in self.kwargs.items()},
            targets=pick(self.targets),
            mask=pick(self.mask),
            index=self.numbers[chosen.to(self.numbers.device)],
            segments=pick(self.segments),
        )

    def _leading(self) -> Tensor:
        for value in (*self.args, *self.kwargs.values()):
            if isinstance(value, Tensor) and value.ndim:
                return value
        raise DataError("a batch holds no tensor; give a tensor, (inputs, targets) or a dict")

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""

        def move(value: Any) -> Any:  # noqa: ANN401 - whatever the model takes
            return value.to(device) if isinstance(value, Tensor) else value

        return evolve(
            self,
            args=tuple(move(value) for value in self.args),
            kwargs={key: move(value) for key, value in self.kwargs.items()},
            targets=move(self.targets),
            mask=move(self.mask),
            segments=move(self.segments),
        )

    def call(self, model: nn.Module) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the model on the batch."""
        return model(*self.args, **self.kwargs)


def as_batch(value: Any, first: int = 0) -> Batch:  # noqa: ANN401 - that is the point
    """Return a `Batch` for a tensor, ``(inputs, targets)``, ``(inputs,)``, a dict, or a `Batch`.

    Dicts, and dataclasses by their fields, are keyword arguments; ``labels``/``targets`` are taken
    out as targets, and ``attention_mask`` also says which positions count. Raises `DataError` for
    anything else.
    """
    if isinstance(value, Batch):
        return value if value.index is not None else evolve(value, first=first)
    if isinstance(value, Tensor):
        return Batch(args=(value,), first=first)
    if isinstance(value, Mapping):
        return _from_mapping(value, first)
    if is_dataclass(value) and not isinstance(value, type):
        return _from_mapping(
            {each.name: getattr(value, each.name) for each in fields(value)}, first
        )
    if isinstance(value, Sequence) and len(value) in (1, 2) and isinstance(value[0], Tensor):
        targets = value[1] if len(value) == 2 else None
        if targets is None or isinstance(targets, Tensor):
            return Batch(args=(value[0],), targets=targets, first=first)
    raise DataError(
        f"cannot read a batch of type {type(value).__name__}; "
        "give a tensor, (inputs, targets), a dict or dataclass of keyword arguments, or a "
        "nodelens Batch"
    )


def _from_mapping(value: Mapping[str, Any], first: int) -> Batch:
    kwargs = dict(value)
    targets = next((kwargs.pop(key) for key in _TARGET_KEYS if key in kwargs), None)
    mask = kwargs.get("attention_mask")
    counts = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
    return Batch(args=(), kwargs=kwargs, targets=targets, mask=counts, first=first)
