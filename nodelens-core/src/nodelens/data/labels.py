"""Class indices for labels of any whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.data.class_names import ordered
from nodelens.errors import DataError, did_you_mean


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
            "save them with .astype('int64'), or set data.numbers: true for numbers to predict"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{where}: labels of shape {array.shape}, expected (samples,), one class number each; "
            "turn one-hot rows into numbers with .argmax(1)"
        )
    return array.astype(np.int64)


def real_numbers(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return numbers to predict as float32; raises `DataError` for another dtype."""
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise DataError(f"{where}: targets of dtype {array.dtype}, expected numbers to predict")
    if array.dtype.kind == "f" and bool(np.isinf(array).any()):
        raise DataError(f"{where}: targets hold infinite values; drop or fill them before saving")
    return array.astype(np.float32)


def named_classes(
    array: NDArray[Any], where: str, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the classes of labels that are text, and the place of each label among them.

    Without `class_names` the classes are sorted, integers by value. Raises `DataError` for a label
    that is not among them, and for labels of another shape.
    """
    if array.ndim != 1:
        raise DataError(f"{where}: labels of shape {array.shape}, expected (samples,)")
    labels = [str(each) for each in array]
    classes = tuple(class_names) if class_names is not None else ordered(labels)
    place = {name: number for number, name in enumerate(classes)}
    unknown = next((each for each in labels if each not in place), None)
    if unknown is not None:
        hint = did_you_mean(unknown, place)
        raise DataError(f"{where}: label {unknown!r} is not among data.class_names{hint}")
    return classes, np.array([place[each] for each in labels], dtype=np.int64)
