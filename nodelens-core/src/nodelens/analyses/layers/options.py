"""The option class of the analysis of layers along the depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.scoring.scores import Scores


@frozen
class Layers:
    """Layer metrics as curves along the depth of the model.

    Groups whose names differ in one number only, such as the neurons of every block, are one curve
    over that number. A metric without any layer value, or a group without such a row, has no curve.
    """

    def analyse(self, scores: Scores, seed: int) -> Finding:
        from nodelens.analyses.layers.finding import profiles

        return profiles(scores)
