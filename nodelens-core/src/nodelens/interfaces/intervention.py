"""The contract of an intervention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

from nodelens.interfaces.backend import Permissions

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.findings.finding import Finding
    from nodelens.progress import Progress
    from nodelens.scoring.scores import Scores


@frozen(eq=False)
class InterventionRequest:
    """The model, the scores and the evaluation samples that an intervention may use.

    `batches` are the evaluation samples, the same for every point, on the model's device. `means`
    holds the mean activation of every node, ``(nodes,)`` by group, when the run has captured it.
    `allowed` says which foreign code may run.
    """

    model: nn.Module
    graph: ChannelGraph
    scores: Scores
    batches: Sequence[Batch]
    seed: int
    device: torch.device
    means: dict[str, torch.Tensor]
    progress: Progress
    allowed: Permissions = field(factory=Permissions)


@runtime_checkable
class Intervention(Protocol):
    """A test of scores by ablation: a frozen attrs class whose fields are its options.

    A method that may be left out: ``check(allowed: Permissions) -> None`` raises an error before
    anything is done, such as one for a missing package.

    Example:
        ::

            @frozen
            class First:
                def run(self, request):
                    group = maskable(request.graph)[0]
                    ablator = open_ablator(request, "zero", [group])
                    without = ablator.evaluate_without({group.name: [0]})
                    numbers = {"damage": without.loss - ablator.dense.loss}
                    return Finding("intervention", "first", "The first node", data=numbers)
    """

    def run(self, request: InterventionRequest) -> Finding:
        """Ablate nodes and measure the loss increase; the model is left exactly as before.

        Args:
            request: the model, its graph, the scores to test, and the evaluation samples.

        Returns:
            A finding of kind ``intervention``.

        Raises:
            CaptureError: where nodes are to read as their mean and means were not captured.
        """
