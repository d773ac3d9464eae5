"""The option class of the analysis of a composite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens_metrics.parts import By, Part, check_names

if TYPE_CHECKING:
    from nodelens.reports.parts import Finding
    from nodelens.scoring.scores import Scores


@frozen
class Composition:
    """What each part of a composite gives its ranking.

    A part's share is the covariance of its contributions with the composite over the composite's
    variance, within groups, averaged over nodes: the shares add up to 1, and a part that says the
    opposite of the others has a negative one. The contributions of every node are kept in the
    finding's data. Give the same `parts` and `by` as to the composite; a YAML anchor saves writing
    them twice.

    Attributes:
        parts: the parts of the composite, with their weights.
        by: what the composite combines.
        composite: the composite's name in the results.
    """

    parts: tuple[Part | str, ...] = field(validator=check_names)
    by: By = field(default="rank", validator=validators.in_(("rank", "standard")))
    composite: str = "composite"

    def analyse(self, scores: Scores, seed: int) -> Finding:
        """Return the shares; nothing here is random.

        Raises `UnknownNameError` for a composite or part without scores, `ConfigError` when the
        parts do not add up to the composite's scores.
        """
        from nodelens_metrics.composition_finding import composition

        return composition(scores, self)
