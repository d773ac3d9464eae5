"""Cross-entropy of class numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen
class CrossEntropy:
    """Cross-entropy of one class number per row or position, in nats.

    Attributes:
        class_axis: the axis of the outputs that runs over classes; null takes the one that fits
            the labels, and refuses outputs where axis 1 and the last axis both fit.
    """

    class_axis: int | None = None

    info = LossInfo(unit="nats", distribution="classes")

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from nodelens.capture.losses import row_losses

        return row_losses(output, batch, self.class_axis)

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.capture.losses import label_counts

        return label_counts(batch)

    def logits(self, output: Any, batch: Batch) -> Tensor:
        """Return the logits with the classes in the last axis."""
        from nodelens.capture.losses import class_logits, targets_of

        return class_logits(output, targets_of(batch), self.class_axis)

    def batch_mean(self, output: Any, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of a label; smoothing spreads a share over all classes."""
        from torch.nn import functional

        from nodelens.capture.losses import targets_of

        logits = self.logits(output, batch).flatten(0, -2)
        targets = targets_of(batch).to(logits.device).flatten()
        return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
