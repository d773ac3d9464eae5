"""Recovery by low-rank adapters that are added to the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.config.schema import POSITIVE, POSITIVE_OR_NULL
from nodelens.recovery.fine_tune import Distillation, FineTune, shorter_than_training
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from nodelens.interfaces.recovery import Recovered, RecoveryRequest


@renamed_arguments(largest_norm="max_grad_norm")
@frozen
class LoRA:
    """Recovery that trains low-rank changes of linear layers and convolutions only.

    Beside every weight W of the chosen layers a product BA of rank r is learned, and in the end W
    becomes W + (alpha / r) BA (Hu et al., arXiv 2106.09685, section 4.1), by peft. The recovered
    model has no other layers than the pruned one.

    Attributes:
        rank: r, the rank of every change.
        alpha: factor of the changes, times r.
        dropout: fraction of the inputs of A that is set to zero at random in training.
        targets: patterns of module names, such as *.mlp.*; * matches anything. Weights that several
            modules share, and convolutions in groups, are left out.
        steps: number of updates, one batch each.
        batch_size: samples of a batch; null takes data.batch_size.
        learning_rate: the largest rate.
        schedule: whether the rate is constant or falls to zero along half a cosine.
        warmup: steps over which the rate rises before the schedule.
        weight_decay: decoupled, as in AdamW.
        max_grad_norm: the norm that the gradient is clipped to; null clips nothing.
        split: all training samples, or those that scored the nodes; never the test samples.
        distillation: training on the dense model's predictions as well; null trains on the labels
            alone.
    """

    rank: int = field(default=8, validator=POSITIVE)
    alpha: float = field(default=16.0, validator=POSITIVE)
    dropout: float = field(default=0.0, validator=(validators.ge(0.0), validators.lt(1.0)))
    targets: tuple[str, ...] = field(default=("*",), validator=validators.min_len(1))
    steps: int = field(default=200, validator=POSITIVE)
    batch_size: int | None = field(default=None, validator=POSITIVE_OR_NULL)
    learning_rate: float = field(default=3e-4, validator=POSITIVE)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = field(default=0, validator=(validators.ge(0), shorter_than_training))
    weight_decay: float = field(default=0.0, validator=validators.ge(0.0))
    max_grad_norm: float | None = field(default=1.0, validator=POSITIVE_OR_NULL)
    split: Literal["train", "calibration"] = "train"
    distillation: Distillation | None = None

    def check(self, request: RecoveryRequest) -> None:
        """Raise `ModelError` without peft, or for patterns that no layer matches."""
        from nodelens.recovery.recovery_loop import check_batches
        from nodelens_hf.adapters import check_installed, find_targets

        check_installed()
        find_targets(request.model, self.targets)
        check_batches(request, FineTune.of(self))

    def recover(self, request: RecoveryRequest) -> Recovered:
        """Train adapters and add them to the weights; `ModelError` for a loss that diverges."""
        from nodelens.recovery.recovery_loop import train_steps
        from nodelens_hf.adapters import adapted

        with adapted(request.model, self, request.seed, request.device):
            return train_steps(request, FineTune.of(self))
