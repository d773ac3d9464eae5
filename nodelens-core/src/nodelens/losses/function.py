"""A loss that is a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen(eq=False)
class FunctionLoss:
    """A function of output and batch that returns one summed loss per row."""

    function: Callable[[Any, Any], Any]
    info: LossInfo = field(factory=lambda: LossInfo(unit="loss"))

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        found: Tensor = self.function(output, batch)
        return found

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.capture.losses import label_counts

        return label_counts(batch)
