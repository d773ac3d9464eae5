"""What an evaluation is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

from nodelens.interfaces.backend import Permissions
from nodelens.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.findings.finding import Finding


@frozen(eq=False)
class EvaluationRequest:
    """Everything an evaluation may use.

    `model` is on `device` and in evaluation mode. `allowed` says which foreign code may run.
    """

    model: nn.Module
    seed: int
    device: torch.device
    progress: Progress = silent
    allowed: Permissions = field(factory=Permissions)


@runtime_checkable
class Evaluation(Protocol):
    """A measure of a whole model on data of its own: a frozen attrs class of options.

    A method that may be left out: ``check(allowed: Permissions) -> None`` raises what can be said
    before anything is done, such as a missing package.
    """

    def evaluate(self, request: EvaluationRequest) -> Finding:
        """Measure the model as it is, change nothing of it, and return what was found.

        Args:
            request: the model, the run's seed and what may be used.

        Returns:
            A finding of kind ``evaluation``.
        """
