"""What a dataset returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor


@frozen(eq=False)
class Samples:
    """Labelled samples: `inputs` ``(samples, ...)`` float32, `targets` ``(samples,)`` int64."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor) -> Samples:
        """Return the samples at `index`, ``(k,)`` of int64, in that order."""
        return Samples(self.inputs[index], self.targets[index])


@frozen(eq=False)
class LoadedData:
    """What a dataset has: samples to divide up, and test samples if it comes with some."""

    samples: Samples
    classes: tuple[str, ...]
    test: Samples | None = None
    origin: str = ""


@runtime_checkable
class Dataset(Protocol):
    """A source of samples: a frozen attrs class whose fields are its options."""

    def load(self) -> LoadedData:
        """Read the data; raises `nodelens.errors.DataError` with the file and what is wrong."""
