"""A loss that is a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from nodelens.errors import DataError, NodelensError
from nodelens.interfaces.loss import LossInfo
from nodelens.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen(eq=False)
class FunctionLoss:
    """A function of output and batch that returns one summed loss per row."""

    function: Callable[[Any, Any], Any]
    info: LossInfo = field(factory=lambda: LossInfo(unit="loss"))

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from torch import OutOfMemoryError

        try:
            found: Tensor = self.function(output, batch)
        except (NodelensError, OutOfMemoryError):
            raise
        except Exception as error:  # the code of the user
            name = getattr(self.function, "__name__", type(self.function).__name__)
            raise DataError(
                f"the function {name} failed ({type(error).__name__}: {printable(str(error))}); it "
                "gets the model's output and the batch, whose labels are batch.targets"
            ) from error
        return found

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.capture.losses import label_counts

        return label_counts(batch)
