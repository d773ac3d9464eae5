"""The option class of the agreement analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.scoring.scores import Scores


@frozen
class Agreement:
    """Spearman's rank correlation between every two metrics.

    Correlations are taken within each group, on importance (so that high means "keep" for both),
    and averaged over the groups, weighted by nodes. Metrics without a direction are compared by
    their raw values and marked. A metric that is constant in a group has no correlation there.
    """

    def analyse(self, scores: Scores, seed: int) -> Finding:
        from nodelens.analyses.agreement.compute import agreement

        return agreement(scores)
