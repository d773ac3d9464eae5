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

    def sampled(self, output: Any, batch: Batch) -> Batch:
        """Return the batch with classes drawn from the model's predictions."""
        from nodelens.capture.losses import sampled_labels

        return sampled_labels(output, batch, self.class_axis)

    def numbers(self, output: Any, batch: Batch) -> Tensor:
        """Return margin, −log p and entropy of every prediction."""
        from nodelens.capture.losses import output_numbers

        return output_numbers(output, batch, self.class_axis)

    def batch_mean(self, output: Any, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of a label; smoothing spreads a share over all classes."""
        from torch.nn import functional

        from nodelens.capture.losses import class_logits, targets_of

        targets = targets_of(batch)
        logits = class_logits(output, targets, self.class_axis).flatten(0, -2)
        return functional.cross_entropy(
            logits, targets.to(logits.device).flatten(), label_smoothing=label_smoothing
        )
