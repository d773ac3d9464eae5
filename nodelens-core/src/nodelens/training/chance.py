"""Whether an evaluated model does better than guesses by the frequencies of the labels alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from nodelens.interfaces.statistic import IGNORED
from nodelens.training.estimate import ratio
from nodelens.training.model_evaluation import NATS, counted_targets

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch
    from nodelens.training.model_evaluation import EvaluationResult

_ADVICE = "train or load a better model before reading what is said of its nodes"


@frozen(eq=False)
class Guesses:
    """What a model reaches that knows the frequencies of the labels and nothing of the inputs.

    `losses` ``(rows,)`` are the sums of −log frequency over the labels of a row, in nats; `correct`
    ``(rows,)`` counts the labels of the largest class.
    """

    losses: NDArray[np.float64]
    correct: NDArray[np.float64]


def frequency_guesses(batches: Sequence[Batch]) -> Guesses | None:
    """Return the guesses by the labels of the evaluation samples; None without class numbers."""
    if any(batch.targets is None or batch.targets.is_floating_point() for batch in batches):
        return None
    targets = [counted_targets(batch).cpu() for batch in batches]
    labels = [each.reshape(len(each), -1) for each in targets]
    counted = torch.cat([each[each != IGNORED] for each in labels])
    if not len(counted):
        return None
    counts = torch.bincount(counted).double()
    losses = -(counts / counts.sum()).log()
    rows = [_row_sums(each, losses, int(counts.argmax())) for each in labels]
    return Guesses(*(torch.cat(part).numpy() for part in zip(*rows, strict=True)))


def _row_sums(labels: Tensor, losses: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    real = labels != IGNORED
    found = losses[labels.where(real, largest)] * real
    return found.sum(1), (labels == largest).sum(1).double()


def chance_warning(evaluation: EvaluationResult, guesses: Guesses | None) -> tuple[str, ...]:
    """Return one warning where a model is no better than guesses, else none.

    The accuracy has to be above that of the largest class by two standard errors of the paired
    difference, and the loss below that of the class frequencies.
    """
    if guesses is None or evaluation.unit != NATS:
        return ()
    reasons = [*_reasons(evaluation, guesses)]
    if not reasons:
        return ()
    every = 1 if evaluation.correct is None else 2
    verb = "is" if len(reasons) == every else "may be"
    return (f"the model {verb} at chance: {', and its '.join(reasons)}; {_ADVICE}",)


def _reasons(evaluation: EvaluationResult, guesses: Guesses) -> Iterator[str]:
    accuracy, counts = evaluation.accuracy_estimate, evaluation.counts
    if accuracy is not None and evaluation.correct is not None:
        gap = ratio(evaluation.correct - guesses.correct, counts)
        if not gap.value > 2 * gap.se:
            largest = f"{100 * ratio(guesses.correct, counts).value:.1f} %"
            yield (
                f"accuracy of {accuracy.percent()} is not above the {largest} of the largest "
                "class by two standard errors"
            )
    loss, guessed = evaluation.loss_estimate, ratio(guesses.losses, counts)
    if not loss.value < guessed.value - 1e-9:
        what = "token" if evaluation.words else "class"
        yield (
            f"loss of {loss.text('.4f')} nats is not below the {guessed.value:.4f} nats of the "
            f"{what} frequencies"
        )
