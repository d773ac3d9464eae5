"""The option class of the analysis of a composite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.scoring.scores import Scores


@frozen
class Composition:
    """Fraction of a composite's variance that each of its parts contributes.

    The fraction is the covariance of a part's contributions with the composite over the composite's
    variance, within groups, averaged over nodes. The fractions add up to 1; a part that ranks
    against the others has a negative one. The contributions of every node are kept in the finding's
    data.

    Attributes:
        composite: the composite's name in the results.
    """

    composite: str = "composite"

    def analyse(self, scores: Scores, seed: int) -> Finding:
        """Return the fractions; nothing here is random.

        Raises `UnknownNameError` for a composite without scores, `ConfigError` for a metric that is
        not made of others.
        """
        from nodelens_metrics.composites.composition_finding import composition

        return composition(scores, self.composite)
