"""The dataset of NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from nodelens.errors import DataError

if TYPE_CHECKING:
    from nodelens.data.numpy_files import Pair
    from nodelens.interfaces.dataset import LoadedData

Channels = Literal["first", "last", "none"]


@frozen
class Arrays:
    """Samples from one npz file, or from two npy files of inputs and of targets.

    Inputs may have any numeric dtype and become float32 as they are; targets are whole numbers or
    text, and every distinct one is a class, or numbers to predict.

    Attributes:
        path: the npz file.
        inputs: an npy file of inputs, instead of `path`.
        targets: an npy file of targets, instead of `path`.
        inputs_key: the name of the inputs in the npz file.
        targets_key: the name of the targets in the npz file.
        channels: where images have their channels; ``first`` is (samples, channels, height, width)
            and also fits vectors, ``last`` is (samples, height, width, channels), ``none`` is
            (samples, height, width).
        numbers: whether targets are numbers to predict, one or several per sample, not classes.
        class_names: the classes of targets that are text, in the order of a model's outputs; null
            sorts them, which fits a model that the run trains, or that names its outputs.
    """

    path: str | None = None
    inputs: str | None = None
    targets: str | None = None
    inputs_key: str = "inputs"
    targets_key: str = "targets"
    channels: Channels = field(default="first")
    numbers: bool = False
    class_names: tuple[str, ...] | None = None

    def __attrs_post_init__(self) -> None:
        one_file = self.path is not None and self.inputs is None and self.targets is None
        two_files = self.path is None and self.inputs is not None and self.targets is not None
        if not one_file and not two_files:
            given = [name for name in ("path", "inputs", "targets") if getattr(self, name)]
            raise DataError(
                "arrays needs either path (an npz file) or both inputs and targets (npy files); "
                f"given: {', '.join(given) or 'none of them'}"
            )

    def load(self) -> LoadedData:
        from nodelens.data.numpy_files import as_loaded

        return as_loaded(self._pair(), self.channels, self.numbers, self.class_names)

    def _pair(self) -> Pair:
        from nodelens.data.numpy_files import read_npy_pair, read_npz_pair

        if self.inputs is not None and self.targets is not None:
            return read_npy_pair(Path(self.inputs), Path(self.targets))
        return read_npz_pair(Path(self.path or ""), self.inputs_key, self.targets_key)
