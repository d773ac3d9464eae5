"""Batches of any common shape, brought into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.errors import DataError, ModelError
from nodelens.statistics.contract import IGNORED as IGNORED

_TARGET_KEYS = ("labels", "label", "targets", "target")


@frozen(eq=False)
class Batch:
    """One batch: what the model is called with, labels, and which positions count.

    `mask`, ``(rows, positions)`` of bool, is False at padding. `first` is the index in the data of
    the batch's first row, so that every row has the same fold whatever the batching.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(factory=dict)
    targets: Tensor | None = None
    mask: Tensor | None = None
    first: int = 0

    @property
    def rows(self) -> int:
        """The number of independent samples."""
        return len(self._leading())

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
        )

    def call(self, model: nn.Module) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the model on the batch."""
        return model(*self.args, **self.kwargs)


def as_batch(value: Any, first: int = 0) -> Batch:  # noqa: ANN401 - that is the point
    """Return a `Batch` for a tensor, ``(inputs, targets)``, ``(inputs,)``, a dict, or a `Batch`.

    Dicts are keyword arguments; ``labels``/``targets`` are taken out as targets, and
    ``attention_mask`` also says which positions count. Raises `DataError` for anything else.
    """
    if isinstance(value, Batch):
        return evolve(value, first=first)
    if isinstance(value, Tensor):
        return Batch(args=(value,), first=first)
    if isinstance(value, Mapping):
        return _from_mapping(value, first)
    if isinstance(value, Sequence) and len(value) in (1, 2) and isinstance(value[0], Tensor):
        targets = value[1] if len(value) == 2 else None
        if targets is None or isinstance(targets, Tensor):
            return Batch(args=(value[0],), targets=targets, first=first)
    raise DataError(
        f"cannot read a batch of type {type(value).__name__}; "
        "give a tensor, (inputs, targets), a dict of keyword arguments, or a nodelens Batch"
    )


def _from_mapping(value: Mapping[str, Any], first: int) -> Batch:
    kwargs = dict(value)
    targets = next((kwargs.pop(key) for key in _TARGET_KEYS if key in kwargs), None)
    mask = kwargs.get("attention_mask")
    counts = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
    return Batch(args=(), kwargs=kwargs, targets=targets, mask=counts, first=first)


def logits_of(output: Any) -> Tensor:  # noqa: ANN401 - whatever the model returns
    """Return the logits of an output: a tensor, ``.logits``, ``["logits"]`` or the first item."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, Mapping):
        logits = output.get("logits")
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"the model returned {type(output).__name__} without logits; pass loss=, a function of "
            "(output, batch) that returns one summed loss per row"
        )
    return logits


def row_losses(output: Any, batch: Batch) -> Tensor:  # noqa: ANN401 - whatever the model returns
    """Return the cross-entropy of every row in nats, ``(rows,)``: the *sum* over its positions.

    Positions labelled -100 and masked positions do not count.
    """
    if batch.targets is None:
        raise DataError(
            "gradient metrics and evaluations need labels: give (inputs, targets) batches or loss="
        )
    logits, targets = logits_of(output), batch.targets
    _check_targets(logits, targets)
    if batch.mask is not None and targets.shape == batch.mask.shape:
        targets = targets.masked_fill(~batch.mask, IGNORED)
    flat = F.cross_entropy(
        logits.flatten(0, -2).float() if logits.dtype.itemsize < 4 else logits.flatten(0, -2),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return flat.view(len(targets), -1).sum(1)


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    """Raise `DataError` unless the targets are class indices that fit the logits."""
    if logits.shape[:-1] != targets.shape:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} do not fit targets of shape "
            f"{tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise DataError(f"targets must be class indices, got {targets.dtype}; or give a loss")
    wrong = (targets != IGNORED) & ((targets < 0) | (targets >= logits.shape[-1]))
    if bool(wrong.any()):
        raise DataError(
            f"label {int(targets[wrong][0])} does not fit a model of {logits.shape[-1]} outputs "
            f"(0 to {logits.shape[-1] - 1}; {IGNORED} is left out)"
        )
