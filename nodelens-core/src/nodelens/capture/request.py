"""The request for a capture: model, batches, plan, and options of the pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from nodelens.capture.batches import Batch
from nodelens.capture.distributed.workers import Workers
from nodelens.capture.losses import row_losses
from nodelens.capture.plan.capture_plan import CapturePlan
from nodelens.channels.groups import ChannelGraph, Site
from nodelens.progress import Progress

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.checkpoint import Checkpoint
    from nodelens.capture.result import Capture
    from nodelens.interfaces.loss import RowLoss

Loss = Callable[[Any, Batch], Tensor]


@frozen(eq=False)
class CaptureRequest:
    """The model, the batches and the plan of a capture, with the options of its passes.

    `loss` returns one summed loss per row from output and batch. `target` returns what nodes are
    scored for in its place, if they are: gradients and passes are then of it. `batches` is read
    once per pass, so a plan of several passes needs more than an iterator. `store` is the folder
    for the states of finished passes where the plan does not fit its memory budget; None keeps them
    in memory. `checkpoint` saves the position that a later capture resumes from. `enough` returns
    after each batch of the first pass whether its samples suffice. `workers` says which of the
    batches this process reads; all workers are given all of them.
    """

    model: nn.Module
    graph: ChannelGraph
    batches: Iterable[Any]
    plan: CapturePlan
    device: torch.device
    loss: Loss | RowLoss = row_losses
    target: Loss | RowLoss | None = None
    total: int = 0
    progress: Progress | None = None
    observe: Callable[[Site, Batch], None] | None = None
    seed: int = 0
    store: Path | None = None
    checkpoint: Checkpoint | None = None
    enough: Callable[[Capture], bool] | None = None
    workers: Workers = field(factory=Workers)

    @property
    def scored(self) -> Loss | RowLoss:
        """What nodes are scored for: the target, or else the loss."""
        return self.target or self.loss
