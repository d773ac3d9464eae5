"""The loss that a model returns among its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nodelens.capture.losses import OWN_LOSS
from nodelens.errors import DataError


def loss_in(output: Any) -> Tensor | None:
    """Return the ``loss`` of an output, or the only number of a tuple; None without one."""
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if found is None and isinstance(output, tuple | list):
        numbers = [each for each in output if isinstance(each, Tensor) and not each.ndim]
        found = numbers[0] if len(numbers) == 1 else None
    return found if isinstance(found, Tensor) else None


def returned_loss(output: Any, rows: int) -> Tensor:
    """Return the losses of all rows that a model returns; raises `DataError` without them."""
    found = loss_in(output)
    if found is None:
        raise DataError(f"the model returns no loss of its own; {OWN_LOSS}")
    if found.shape != (rows,):
        raise DataError(
            f"the model returns a loss of shape {tuple(found.shape)} for {rows} rows, a mean of "
            f"which nothing says what it was divided by; {OWN_LOSS}"
        )
    return found
