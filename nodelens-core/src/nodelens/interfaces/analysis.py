"""The contract of an analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.scoring.scores import Scores


@runtime_checkable
class Analysis(Protocol):
    """A function of scores: a frozen attrs class whose fields are its options.

    Example:
        ::

            @frozen
            class Largest:
                def analyse(self, scores, seed):
                    best = max(scores.scores.values(), key=lambda score: float(score.values.max()))
                    return Finding("analysis", "largest", "Largest score", headline=(best.metric,))
    """

    def analyse(self, scores: Scores, seed: int) -> Finding:
        """Compute a finding from scores; nothing is measured on the model.

        Args:
            scores: every node score of the run, with standard errors.
            seed: the run's seed, for whatever is random.

        Returns:
            A finding of kind ``analysis``.

        Raises:
            UnknownNameError: for an option that names a metric or group without scores.
        """
