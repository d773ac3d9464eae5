"""Batches: tensors, pairs and dicts in one form, with labels and masks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn

from nodelens.capture.label_values import TARGET_KEYS, check_arguments, label_tensor, widened
from nodelens.capture.model_call import called
from nodelens.errors import DataError
from nodelens.interfaces.loss import RowLoss


@frozen(eq=False)
class Batch:
    """One batch: the arguments of the model, the labels, and the positions that count.

    `mask`, ``(rows, positions)`` of bool, is False at padding. `first` is the index in the data of
    the batch's first row, so that every row has the same fold whatever the batching; `index`,
    ``(rows,)`` int64, gives every row's own where they do not follow each other. `segments`,
    ``(rows, positions)`` of integers, numbers the sequences of packed rows: equal numbers in a row
    are one sequence, which statistics of whole rows then take as their unit.

    `decoder_mask`, ``(rows, target positions)`` of bool, is the mask of what the decoder of an
    encoder-decoder reads. Sites distinguish the two by their number of positions, so that these
    differ. `token_classes`: the labels of positions are classes, not tokens of a vocabulary.
    `reference`, ``(rows, positions, features)``, is the output of a model without predictions
    before it was changed. `number` counts the batches of a pass from 1, for messages.
    `loss` is what the labels are evaluated by; None is the cross-entropy of classes.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(factory=dict)
    targets: Tensor | None = field(default=None, converter=widened)
    mask: Tensor | None = None
    first: int = 0
    index: Tensor | None = None
    segments: Tensor | None = None
    decoder_mask: Tensor | None = None
    token_classes: bool = False
    reference: Tensor | None = None
    number: int = 0
    loss: RowLoss | None = None

    def __attrs_post_init__(self) -> None:
        other = self.decoder_mask
        if other is None:
            return
        if self.segments is not None:
            raise DataError("packed rows are for models without a decoder of their own")
        if self.mask is not None and self.mask.shape[1] == other.shape[1]:
            raise DataError(
                f"source and target have {other.shape[1]} positions each, so that the padding of "
                "one cannot be distinguished from that of the other; pad either by one more "
                "position, and give decoder_attention_mask"
            )

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
        """The number of tokens of a row where the batch has a mask or segments; else None."""
        found = self.segments if self.mask is None else self.mask
        return None if found is None else found.shape[1]

    def length_in(self, axes: Sequence[int]) -> int | None:
        """Return the number of tokens that one of the axes has; `length` where none fits."""
        other = None if self.decoder_mask is None else self.decoder_mask.shape[1]
        return other if other in axes and self.length not in axes else self.length

    def rows_where(self, chosen: Tensor) -> Batch:
        """Return the rows where `chosen`, ``(rows,)`` of bool, is True."""
        rows = self.rows

        def pick(value: Any) -> Any:
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
            decoder_mask=pick(self.decoder_mask),
            reference=pick(self.reference),
        )

    def _leading(self) -> Tensor:
        for value in (*self.args, *self.kwargs.values()):
            if isinstance(value, Tensor) and value.ndim:
                return value
        raise DataError("a batch holds no tensor; give a tensor, (inputs, targets) or a dict")

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""

        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        return evolve(
            self,
            args=tuple(move(value) for value in self.args),
            kwargs={key: move(value) for key, value in self.kwargs.items()},
            targets=move(self.targets),
            mask=move(self.mask),
            segments=move(self.segments),
            decoder_mask=move(self.decoder_mask),
            reference=move(self.reference),
        )

    def call(self, model: nn.Module) -> Any:
        """Run the model on the batch; `ModelError` names the batch and the likely reason."""
        return called(model, self)


def as_batch(
    value: Any, first: int = 0, takes: Collection[str] = (), class_names: Sequence[str] = ()
) -> Batch:
    """Return a `Batch` for a tensor, ``(inputs, targets)``, ``(inputs,)``, a dict, or a `Batch`.

    Dicts, and dataclasses by their fields, are keyword arguments; ``labels``, ``targets`` or ``y``
    are taken out as targets, unless the model `takes` them, a parameter of that name.
    ``attention_mask`` also says which positions count, as ``decoder_attention_mask`` does of a
    decoder's; without it all ``decoder_input_ids`` count. `class_names` are the classes of labels
    that are text. Raises `DataError` for anything else.
    """
    if isinstance(value, Batch):
        return value if value.index is not None else evolve(value, first=first)
    if isinstance(value, Tensor):
        return Batch(args=(value,), first=first)
    if isinstance(value, Mapping):
        return _from_mapping(value, first, takes, class_names)
    if is_dataclass(value) and not isinstance(value, type):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        return _from_mapping(named, first, takes, class_names)
    if isinstance(value, Sequence) and len(value) in (1, 2) and isinstance(value[0], Tensor):
        if len(value) == 1:
            return Batch(args=(value[0],), first=first)
        if isinstance(value[1], Tensor) or _are_names(value[1]):
            targets = label_tensor(value[1], class_names)
            return Batch(args=(value[0],), targets=targets, first=first)
    raise DataError(
        f"cannot read a batch of type {_type_of(value)}; "
        "give a tensor, (inputs, targets), a dict or dataclass of keyword arguments, or a "
        "nodelens Batch"
    )


def _type_of(value: Any) -> str:
    """Return the type of a value in words, with the types of the items of a sequence."""
    name = type(value).__name__
    if not isinstance(value, tuple | list):
        return name
    return f"{name} of {', '.join(type(item).__name__ for item in value) or 'nothing'}"


def _are_names(labels: Any) -> bool:
    return isinstance(labels, list | tuple) and bool(labels) and isinstance(labels[0], str)


def _from_mapping(
    value: Mapping[str, Any], first: int, takes: Collection[str], class_names: Sequence[str]
) -> Batch:
    kwargs = dict(value)
    keys = [key for key in TARGET_KEYS if kwargs.get(key) is not None]
    key = next((each for each in keys if each not in takes), keys[0] if keys else None)
    targets = None if key is None else label_tensor(kwargs[key], class_names, key)
    if key is not None:
        kwargs = {name: each for name, each in kwargs.items() if name != key or key in takes}
        kwargs |= {key: widened(targets)} if key in takes else {}
    check_arguments(kwargs)
    mask = kwargs.get("attention_mask")
    counts = _counts(mask) if isinstance(mask, Tensor) and mask.ndim == 2 else None
    return Batch(
        args=(),
        kwargs=kwargs,
        targets=targets,
        mask=counts,
        first=first,
        decoder_mask=None if counts is None else _decoder_mask(kwargs),
    )


def _counts(mask: Tensor) -> Tensor:
    """Return True for positions that count; raises `DataError` for masks added to the scores."""
    if mask.is_floating_point() and bool((mask < 0).any()):
        raise DataError(
            "attention_mask has negative values, as one that is added to attention scores, where 0 "
            "means that a token counts; give 1 for tokens that count and 0 for padding"
        )
    return mask.bool()


def _decoder_mask(kwargs: Mapping[str, Any]) -> Tensor | None:
    mask, ids = (kwargs.get(f"decoder_{name}") for name in ("attention_mask", "input_ids"))
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return _counts(mask)
    return torch.ones_like(ids, dtype=torch.bool) if isinstance(ids, Tensor) else None
