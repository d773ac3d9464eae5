"""What a backend is given and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from torch import nn


@frozen
class ModelRequest:
    """What the model has to fit: the shape of one sample (no batch axis), classes, seed."""

    input_shape: tuple[int, ...]
    classes: int
    seed: int
    allow_import: tuple[str, ...] = ()


@frozen(eq=False)
class ModelHandle:
    """A model on the CPU, ready to run, with what its backend knows about it.

    `pretrained` is True when the weights come from outside: then training is not needed.
    `origin` says in words where the model comes from.
    """

    module: nn.Module
    origin: str
    pretrained: bool = False
    notes: Mapping[str, str] = field(factory=dict)


@runtime_checkable
class Backend(Protocol):
    """A source of models: a frozen attrs class whose fields are its options."""

    def build(self, request: ModelRequest) -> ModelHandle:
        """Build the model; equal requests give equal weights.

        Raises `nodelens.errors.ModelError` when it cannot.
        """
