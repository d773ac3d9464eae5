"""Squared error of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen
class MSE:
    """Squared error of numbers, summed over the numbers of a row; reported with R² and MAE.

    Targets have the shape of the outputs; those that are NaN, and masked positions, do not count.
    R² is one minus the squared error over that of the mean of all counted targets.
    """

    info = LossInfo(unit="squared units of the targets")

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        found, targets, counted = _pairs(output, batch)
        return _by_row((found - targets).square(), counted)

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.losses.numbers import counted_numbers

        return counted_numbers(batch)

    def row_sums(self, output: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Return the sums over a row that R² and MAE are made of."""
        found, targets, counted = _pairs(output, batch)
        found, targets = found.double(), targets.double()
        return {
            "count": counted.reshape(len(counted), -1).sum(1),
            "error": _by_row((found - targets).abs(), counted),
            "squares": _by_row((found - targets).square(), counted),
            "targets": _by_row(targets, counted),
            "target_squares": _by_row(targets.square(), counted),
        }

    def measures(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return R² and the mean absolute error."""
        spread = sums["target_squares"] - sums["targets"] ** 2 / sums["count"]
        return {"R²": 1 - sums["squares"] / spread, "MAE": sums["error"] / sums["count"]}


def _pairs(output: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    from nodelens.losses.numbers import numbers_of

    return numbers_of(output, batch)


def _by_row(values: Tensor, counted: Tensor) -> Tensor:
    return values.masked_fill(~counted, 0.0).reshape(len(values), -1).sum(1)
