"""Binary cross-entropy of any number of labels per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.interfaces.loss import LossInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from nodelens.capture.batches import Batch


@frozen
class BCE:
    """Cross-entropy of labels that are 0 or 1 each, in nats; reported with accuracy and F1.

    Labels have the shape of the logits; -100, NaN and masked positions do not count. Accuracy and
    F1 are over all counted labels (micro), with the decision at a probability of one half.
    """

    info = LossInfo(unit="nats", distribution="binary")

    def row_losses(self, output: Any, batch: Batch) -> Tensor:
        from torch.nn import functional

        found, targets, counted = _pairs(output, batch)
        losses = functional.binary_cross_entropy_with_logits(found, targets, reduction="none")
        return losses.masked_fill(~counted, 0.0).reshape(len(losses), -1).sum(1)

    def counts(self, batch: Batch) -> Tensor:
        from nodelens.losses.numbers import counted_numbers, yes_or_no

        return counted_numbers(yes_or_no(batch))

    def sampled(self, output: Any, batch: Batch) -> Batch:
        """Return the batch with labels drawn from the model's probabilities."""
        from attrs import evolve

        from nodelens.capture.losses import uniform_numbers

        found, _, counted = _pairs(output, batch)
        chance = uniform_numbers(found.reshape(len(found), -1), batch)
        drawn = (chance.view(found.shape) < found.double().sigmoid()).to(found.dtype)
        return evolve(batch, targets=drawn.masked_fill(~counted, float("nan")))

    def row_sums(self, output: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Return the numbers of right labels, and of those that F1 is made of."""
        found, targets, counted = _pairs(output, batch)
        yes, true = found > 0, targets > 0.5
        parts = {
            "labels": counted,
            "right": (yes == true) & counted,
            "hits": yes & true & counted,
            "wrong": (yes != true) & counted,
        }
        return {name: part.reshape(len(part), -1).sum(1) for name, part in parts.items()}

    def measures(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the accuracy of a label and F1."""
        return {
            "accuracy": sums["right"] / sums["labels"],
            "F1": 2 * sums["hits"] / (2 * sums["hits"] + sums["wrong"]),
        }


def _pairs(output: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    from nodelens.losses.numbers import numbers_of, yes_or_no

    return numbers_of(output, yes_or_no(batch))
