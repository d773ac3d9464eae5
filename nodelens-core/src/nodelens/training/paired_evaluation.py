"""Paired evaluations of two models on one set of samples."""

from __future__ import annotations

from attrs import frozen

from nodelens.training.estimate import Estimate, ratio
from nodelens.training.model_evaluation import EvaluationResult, paired


@frozen(eq=False)
class PairedEvaluation:
    """The evaluations of a model before and after a change, on equal samples in equal order."""

    before: EvaluationResult
    after: EvaluationResult

    @property
    def loss_change(self) -> Estimate:
        """The mean difference of the loss, after minus before, paired by row."""
        return Estimate(*paired(self.after, self.before))

    @property
    def accuracy_change(self) -> Estimate | None:
        """The difference of the accuracy, paired by row; None where rows have several labels."""
        after, before = self.after.correct, self.before.correct
        if after is None or before is None:
            return None
        return ratio(after.astype(float) - before.astype(float), self.before.counts)


def signed(change: Estimate, form: str) -> str:
    """Return ``+value ± se`` or ``-value ± se`` in a number format."""
    return f"{'+' if change.value >= 0 else ''}{change.text(form)}"
