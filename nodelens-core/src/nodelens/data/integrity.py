"""Checks of samples before any work is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nodelens.config.constraints import impossible
from nodelens.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodelens.interfaces.dataset import LoadedData, Samples


def check_loaded(data: LoadedData) -> None:
    """Raise `DataError` unless the dataset keeps its contract; names the origin and the fault."""
    origin = data.origin or "the dataset"
    _check_names(data.classes, origin)
    _check_samples(data.samples, len(data.classes), origin)
    if data.test is None:
        return
    _check_samples(data.test, len(data.classes), f"{origin}, test samples")
    ours, theirs = tuple(data.samples.inputs.shape[1:]), tuple(data.test.inputs.shape[1:])
    if ours != theirs:
        raise DataError(f"{origin}: test samples have the shape {theirs}, the other samples {ours}")


def check_finite(inputs: Tensor, where: str) -> None:
    """Raise `DataError` that counts the samples with NaN or infinite values and names the first."""
    bad = ~torch.isfinite(inputs.flatten(1)).all(1)
    if bool(bad.any()):
        raise DataError(
            f"{where}: {int(bad.sum())} of {len(inputs)} samples hold NaN or infinite values, "
            f"the first is sample {int(bad.nonzero()[0])}; drop or fill them before saving"
        )


def _check_names(classes: Sequence[str], where: str) -> None:
    for name in classes:
        if reason := impossible(name):
            raise DataError(f"{where}: the class {name!r}, {reason}; rename the class")


def _check_samples(samples: Samples, classes: int, where: str) -> None:
    inputs, targets = samples.inputs, samples.targets
    if len(inputs) == 0:
        raise DataError(f"{where}: there are no samples")
    if inputs.numel() == 0:
        raise DataError(f"{where}: samples of shape {tuple(inputs.shape[1:])} hold no values")
    known = (torch.float32, torch.int64)
    if inputs.dtype not in known or targets.dtype not in known:
        raise DataError(
            f"{where}: inputs are {inputs.dtype} and targets {targets.dtype}, "
            "expected torch.float32 (or torch.int64 token ids) and torch.int64 (or torch.float32 "
            "numbers to predict)"
        )
    shaped = samples.numbers or targets.ndim in (1, 2)
    if inputs.ndim < 2 or len(targets) != len(inputs) or not shaped:
        raise DataError(
            f"{where}: inputs of shape {tuple(inputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}, expected (samples, …) and (samples,) or (samples, positions)"
        )
    for name, values in samples.fields.items():
        if len(values) != len(inputs):
            raise DataError(f"{where}: {name} has {len(values)} rows for {len(inputs)} samples")
    if inputs.is_floating_point():
        check_finite(inputs, where)
    if samples.classed:
        _check_classes(targets, classes, where)


def _check_classes(targets: Tensor, classes: int, where: str) -> None:
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= classes:
        raise DataError(
            f"{where}: targets from {lowest} to {highest} do not fit {classes} classes, "
            f"expected 0 to {classes - 1}"
        )
