"""Labels as a user gives them: class numbers of any width, numbers to predict, or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nodelens.errors import DataError, did_you_mean

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
"""The keys of a mapping that hold labels, the first that is there."""


def widened(targets: Tensor | None) -> Tensor | None:
    """Return class numbers as int64; real numbers and booleans stay as they are.

    Raises `DataError` for complex numbers.
    """
    if targets is None or targets.is_floating_point() or targets.dtype == torch.bool:
        return targets
    if targets.is_complex():
        raise DataError("labels are complex numbers; give their parts as real numbers")
    return targets.long()


def label_tensor(labels: Any, class_names: Sequence[str], where: str = "labels") -> Tensor:
    """Return labels as a tensor: names become their places in `class_names`.

    Raises `DataError` for names whose order is not known, and for lists of numbers.
    """
    if isinstance(labels, Tensor):
        return labels
    items = list(labels) if isinstance(labels, Sequence) and not isinstance(labels, str) else []
    if not items or not all(isinstance(each, str) for each in items):
        kind = type(labels).__name__
        raise DataError(f"{where}: expected a tensor, got {kind}; write torch.tensor({where})")
    if not class_names:
        names = sorted(set(items))
        raise DataError(
            f"{where} are text ({', '.join(map(repr, names[:3]))}, …), and nothing says which "
            "output of the model is which: give class_names=[…], in the order of the outputs"
        )
    number = {name: place for place, name in enumerate(class_names)}
    unknown = next((name for name in items if name not in number), None)
    if unknown is not None:
        raise DataError(f"{where}: no class is called {unknown!r}{did_you_mean(unknown, number)}")
    return torch.tensor([number[name] for name in items])


def check_arguments(kwargs: Mapping[str, Any]) -> None:
    """Raise `DataError` for arguments of a model that are lists of numbers, texts or arrays."""
    for name, value in kwargs.items():
        if _is_array(value):
            raise DataError(f"{name}: an array of NumPy; write torch.from_numpy({name})")
        if isinstance(value, list | tuple) and not any(_holds_tensors(each) for each in value):
            raise DataError(
                f"{name}: a {type(value).__name__} of {_inner(value)}, expected a tensor whose "
                f"first axis runs over samples; write torch.tensor({name}), or tokenise text first"
            )


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_tensors(each) for each in value)
    return not isinstance(value, bool | int | float | complex | str | bytes)


def _inner(value: Sequence[Any]) -> str:
    return type(value[0]).__name__ if value else "nothing"


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "shape")
