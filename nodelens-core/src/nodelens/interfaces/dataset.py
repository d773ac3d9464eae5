"""The contract of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

from nodelens.interfaces.statistic import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


@frozen(eq=False)
class Samples:
    """Samples with their labels and further arguments of the model.

    `inputs` is ``(samples, ...)``, float32 or int64 (token ids). `targets` is ``(samples,)`` int64,
    one class each, or ``(samples, positions)``, -100 where a position has no label; numbers to
    predict are float32, in the shape of a sample's outputs, NaN where there is none. `fields` are
    further arguments of the model by name, ``(samples, ...)`` each; ``attention_mask`` also says
    which positions count, and ``decoder_attention_mask`` which of a decoder's, whose number then
    differs. `token_classes`: the labels of positions are classes (parts of speech), not tokens.
    """

    inputs: Tensor
    targets: Tensor
    fields: Mapping[str, Tensor] = field(factory=dict)
    token_classes: bool = False

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def numbers(self) -> bool:
        """Whether targets are numbers, not classes."""
        return self.targets.is_floating_point()

    @property
    def sequences(self) -> bool:
        """Whether labels belong to positions, not to samples."""
        return self.targets.ndim > 1 and not self.numbers

    @property
    def classed(self) -> bool:
        """Whether every sample has one class."""
        return self.targets.ndim == 1 and not self.numbers

    @property
    def labelled(self) -> bool:
        """Whether any sample or position has a label."""
        if self.numbers:
            return not bool(self.targets.isnan().all())
        return bool((self.targets != IGNORED).any())

    def take(self, index: Tensor | slice) -> Samples:
        """Return the samples at `index`, ``(k,)`` of int64 or a slice, in that order."""
        fields = {name: values[index] for name, values in self.fields.items()}
        return Samples(self.inputs[index], self.targets[index], fields, self.token_classes)


@frozen(eq=False)
class LoadedData:
    """All data of a dataset: samples to divide, and test samples where the data bring some.

    `classes` are the names of the classes; samples with a token per position, or with numbers, have
    none. `ordered` says that their order is that of the data, not merely of the alphabet.
    """

    samples: Samples
    classes: tuple[str, ...]
    test: Samples | None = None
    origin: str = ""
    ordered: bool = True


@runtime_checkable
class Dataset(Protocol):
    """A source of samples: a frozen attrs class whose fields are its options.

    Example:
        ::

            @frozen
            class Signs:
                samples: int = 100

                def load(self):
                    inputs = torch.linspace(-1, 1, self.samples)[:, None]
                    return LoadedData(Samples(inputs, (inputs[:, 0] > 0).long()), ("-", "+"))
    """

    def load(self) -> LoadedData:
        """Read the data.

        Returns:
            The samples, the names of their classes, and test samples where there are some.

        Raises:
            DataError: with the file and what is wrong with it.
        """
