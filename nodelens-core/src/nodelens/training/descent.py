"""One optimizer step, and the order of the samples, for every training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from attrs import field, frozen
from torch import Tensor

from nodelens.data.splits import batches
from nodelens.errors import ModelError
from nodelens.training.optimizers import set_learning_rate

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.dataset import Samples
    from nodelens.interfaces.loss import RowLoss


@frozen(eq=False)
class BatchLoss:
    """The mean loss of a batch, and its parts by name."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(factory=dict)


@frozen(eq=False)
class Descent:
    """Optimizer steps on the samples of a training.

    `objective` gives the loss of a batch that is on `device`. `max_grad_norm` is what the gradient
    of all weights is clipped to; None does not clip it. `advice` says what to do about a loss that
    is not finite. `loss` is that of the labels; None is the cross-entropy of classes.
    """

    samples: Samples
    objective: Callable[[Batch], BatchLoss]
    optimizer: Optimizer
    device: torch.device
    advice: str
    max_grad_norm: float | None = None
    loss: RowLoss | None = None

    def step(self, rows: Tensor, rate: float, where: str) -> dict[str, float]:
        """Change the weights once, by the samples at `rows`; return ``loss`` and its parts.

        `where` is the place in the training, for the `ModelError` of a loss that is not finite.
        """
        batch = batches(self.samples.take(rows), len(rows), self.loss)[0].to(self.device)
        loss = self.objective(batch)
        values = {"loss": loss.total.item()}
        values |= {name: part.item() for name, part in loss.parts.items()}
        check_finite(values["loss"], f"the loss {where}", self.advice)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        self._clip(where)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return values

    def _clip(self, where: str) -> None:
        if self.max_grad_norm is None:
            return
        weights = [each for group in self.optimizer.param_groups for each in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
        check_finite(norm.item(), f"the norm of the gradient {where}", self.advice)


def check_finite(value: float, what: str, advice: str) -> None:
    """Raise `ModelError` for a number that is not finite."""
    if not math.isfinite(value):
        raise ModelError(f"{what} is {value}: training diverged; {advice}")


def shuffled(count: int, size: int, random: torch.Generator) -> list[Tensor]:
    """Return the numbers of `count` samples in random order, in parts of `size`.

    A last part of one row joins the one before: batch normalisation has no variance to divide by in
    a batch of one.
    """
    parts = list(torch.split(torch.randperm(count, generator=random), size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
