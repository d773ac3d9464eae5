"""The loss of a study: the one asked for, the model's own, or cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from nodelens.capture.engine import untouched
from nodelens.capture.losses import OWN_LOSS
from nodelens.errors import DataError
from nodelens.interfaces.loss import Loss, RowLoss
from nodelens.losses.cross_entropy import CrossEntropy
from nodelens.losses.own import Own
from nodelens.losses.returned import loss_in

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch

_CLOSE = 1e-2
"""The relative difference below which two losses are one, also in half precision."""


CROSS_ENTROPY = RowLoss(CrossEntropy(), "cross_entropy")
"""The loss of labels where nothing says another."""


def resolved(asked: RowLoss | None, own: Loss | None) -> RowLoss:
    """Return the loss that is asked for; `own` is what the model's type or backend says."""
    if own is not None and (asked is None or isinstance(asked.loss, Own)):
        return RowLoss(own, "own")
    return asked or CROSS_ENTROPY


def named_target(target: RowLoss | None, names: Sequence[str]) -> RowLoss | None:
    """Return a target with the numbers of the classes that it names, if it names any."""
    if target is None or not hasattr(target.loss, "with_classes"):
        return target
    return RowLoss(target.loss.with_classes(names), target.name)


def check_returned_loss(model: nn.Module, batch: Batch, loss: RowLoss) -> None:
    """Raise `DataError` where a model that is given its labels returns another loss for them."""
    with untouched(model), torch.no_grad():
        output = batch.call(model)
        theirs = loss_in(output)
        if theirs is None or theirs.ndim:
            return
        ours = float(loss.batch_mean(output, batch))
    if abs(ours - float(theirs)) > _CLOSE * max(abs(float(theirs)), 1e-6):
        raise DataError(
            f"the model returns a loss of {float(theirs):.4g} for these labels, and their "
            f"{loss.name} is {ours:.4g}: nothing says which labels belong to which output; "
            f"{OWN_LOSS}"
        )
