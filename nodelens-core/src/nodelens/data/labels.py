"""Class indices for labels of any whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.errors import DataError


@frozen(eq=False)
class LabelSet:
    """The distinct labels of a dataset, ascending; a label's class is its position."""

    values: NDArray[np.int64]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes: the labels as text."""
        return tuple(str(value) for value in self.values)

    def encode(self, labels: NDArray[np.int64], where: str) -> NDArray[np.int64]:
        """Return the class index of every label; raises `DataError` for an unknown label."""
        unknown = np.setdiff1d(labels, self.values)
        if len(unknown):
            raise DataError(
                f"{where}: label {unknown[0]} does not occur among the training labels "
                f"({self.values[0]} to {self.values[-1]}, {len(self.values)} classes); "
                "check that both files belong to one dataset"
            )
        return np.searchsorted(self.values, labels).astype(np.int64)


def find_labels(labels: NDArray[np.int64]) -> LabelSet:
    """Return the distinct labels of a dataset."""
    return LabelSet(np.unique(labels))


def whole_numbers(array: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return labels as int64, ``(samples,)``; raises `DataError` for another dtype or shape."""
    if array.dtype.kind not in "iub":
        raise DataError(
            f"{where}: labels of dtype {array.dtype}, expected whole numbers; "
            "save them with .astype('int64')"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{where}: labels of shape {array.shape}, expected (samples,), one class number each; "
            "turn one-hot rows into numbers with .argmax(1)"
        )
    return array.astype(np.int64)
