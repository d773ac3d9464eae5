"""The contract of a recovery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

from nodelens.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nodelens.interfaces.dataset import Samples
    from nodelens.interfaces.loss import RowLoss


def unmasked(model: nn.Module) -> AbstractContextManager[None]:
    """Mask no node: the context for a model whose nodes are all removed or kept."""
    return nullcontext()


@frozen(eq=False)
class RecoveryRequest:
    """The pruned model, the dense model and the samples that a recovery may use.

    `model` is the pruned model, to be trained in place; `dense` the model before pruning, on the
    same device, which must not change. `train` are the training samples and `calibration` those
    of them that scored the nodes; test samples are not here. `batch_size` is the run's own.
    `masked` is a context for every forward of `model`, with whatever was put around its modules:
    it masks the nodes that could not be removed. `loss` is that of the run; None is the
    cross-entropy of classes.
    """

    model: nn.Module
    dense: nn.Module
    train: Samples
    calibration: Samples
    batch_size: int
    seed: int
    device: torch.device
    progress: Progress = silent
    masked: Callable[[nn.Module], AbstractContextManager[None]] = unmasked
    loss: RowLoss | None = None


@frozen
class RecoveryStep:
    """The losses of one training step, in the unit of the run's, before the weights change.

    `labels` is the mean loss of a label, `divergence` the mean divergence from
    the dense model's predictions, times the square of the temperature, None where that is not
    learned; `loss` is what was minimised.
    """

    loss: float
    labels: float | None
    divergence: float | None
    learning_rate: float


@frozen
class Recovered:
    """The result of a recovery: the losses of every step, and what was trained.

    `weights` is the number of trained parameters, `samples` that of the samples it drew from, and
    `batch_size` how many a step took.
    """

    steps: tuple[RecoveryStep, ...]
    weights: int
    samples: int
    batch_size: int
    notes: tuple[str, ...] = ()


@runtime_checkable
class Recovery(Protocol):
    """A way to train a pruned model: a frozen attrs class whose fields are its options.

    Example:
        ::

            @frozen
            class Brief:
                steps: int = 10

                def check(self, request):
                    FineTune(steps=self.steps).check(request)

                def recover(self, request):
                    return FineTune(steps=self.steps).recover(request)
    """

    def check(self, request: RecoveryRequest) -> None:
        """Check before a run does any work that nothing would stop the recovery.

        Args:
            request: what `recover` will get, with the dense model as `model`; nothing is changed.

        Raises:
            NodelensError: with what would stop the recovery and what to do.
        """

    def recover(self, request: RecoveryRequest) -> Recovered:
        """Train the request's model in place; its modules keep their classes and sizes.

        Equal requests give equal weights. Modes and the global random state are as before.

        Args:
            request: the pruned model, the dense one, and the training samples.

        Returns:
            The losses of every step, and what was trained on what.

        Raises:
            CaptureError: where a loss or a gradient is not finite.
        """
