"""The loss that a model itself defines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen
class Own:
    """The loss that the model itself defines, row by row.

    Of a model whose backend or type says its loss (transformers) that one is taken. Any other model
    must return one loss per row, as ``loss``; a mean over a batch is refused, because nothing says
    what it was divided by.
    """

    info = LossInfo(unit="loss")

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.losses.returned import returned_loss

        return returned_loss(output, batch.rows)
