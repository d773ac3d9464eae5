"""Recovery by training all weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, fields, frozen, validators

from nodelens.config.schema import POSITIVE, POSITIVE_OR_NULL
from nodelens.errors import ModelError
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from nodelens.interfaces.recovery import Recovered, RecoveryRequest


@frozen
class Distillation:
    """The dense model's predictions, learned beside the labels.

    Attributes:
        weight: of the divergence from the dense model's predictions; the labels have the rest, and
            1 leaves them out.
        temperature: what the logits of both models are divided by before they are compared.
    """

    weight: float = field(default=0.5, validator=(validators.gt(0.0), validators.le(1.0)))
    temperature: float = field(default=2.0, validator=POSITIVE)


def shorter_than_training(recovery: Any, attribute: Any, warmup: int) -> None:
    """Raise `ValueError` for a warmup that the steps do not outlast; a validator of attrs."""
    if warmup >= recovery.steps:
        raise ValueError(f"warmup of {warmup} steps leaves none of {recovery.steps} at full rate")


@renamed_arguments(largest_norm="max_grad_norm")
@frozen
class FineTune:
    """All weights of the pruned model are trained for a number of steps with AdamW.

    Weights of less than 32 bits are trained as float32 and rounded back at the end.

    Attributes:
        steps: how often the weights are changed, each time by one batch.
        batch_size: samples of a batch; null takes data.batch_size.
        learning_rate: the largest rate.
        schedule: whether the rate is constant or falls to zero along half a cosine.
        warmup: steps over which the rate rises before that.
        weight_decay: decoupled, as in AdamW.
        max_grad_norm: the norm that the gradient is clipped to; null does not clip it.
        split: all training samples, or those that scored the nodes; never the test samples.
        distillation: how the dense model's predictions are learned as well; null learns the labels
            alone.
    """

    steps: int = field(default=200, validator=POSITIVE)
    batch_size: int | None = field(default=None, validator=POSITIVE_OR_NULL)
    learning_rate: float = field(default=1e-4, validator=POSITIVE)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = field(default=0, validator=(validators.ge(0), shorter_than_training))
    weight_decay: float = field(default=0.0, validator=validators.ge(0.0))
    max_grad_norm: float | None = field(default=1.0, validator=POSITIVE_OR_NULL)
    split: Literal["train", "calibration"] = "train"
    distillation: Distillation | None = None

    @classmethod
    def of(cls, recovery: object) -> FineTune:
        """Return the options of a recovery whose fields include all options of fine-tuning."""
        return cls(**{each.name: getattr(recovery, each.name) for each in fields(cls)})

    def check(self, request: RecoveryRequest) -> None:
        """Raise `ModelError` where nothing can be trained, `DataError` for batches of one."""
        from nodelens.recovery.recovery_loop import check_batches
        from nodelens.training.optimizers import trainable

        trainable(request.model, "recovery")
        if self.distillation and request.loss and request.loss.distribution != "classes":
            raise ModelError(
                "recovery: distillation compares predictions of classes, and "
                f"{request.loss.name} is no loss of classes; leave distillation out"
            )
        check_batches(request, self)

    def recover(self, request: RecoveryRequest) -> Recovered:
        """Train every weight that wants a gradient; `ModelError` for a loss that diverges."""
        from nodelens.recovery.float32_weights import in_float32
        from nodelens.recovery.recovery_loop import train_steps

        with in_float32(request.model):
            return train_steps(request, self)
