"""The contract of an evaluation."""

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
    """The model, the seed and the permissions that an evaluation may use.

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

    A method that may be left out: ``check(allowed: Permissions) -> None`` raises an error before
    anything is done, such as one for a missing package.

    Example:
        ::

            @frozen
            class Norm:
                def evaluate(self, request):
                    norm = sum(float(weight.norm()) for weight in request.model.parameters())
                    return Finding("evaluation", "norm", "Norms of weights", data={"norm": norm})
    """

    def evaluate(self, request: EvaluationRequest) -> Finding:
        """Measure the whole model; the model is left exactly as before.

        Args:
            request: the model, the run's seed and what may be used.

        Returns:
            A finding of kind ``evaluation``.
        """
