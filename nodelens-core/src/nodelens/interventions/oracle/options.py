"""The option class of the single-node oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.intervention import InterventionRequest


@frozen
class Oracle:
    """The true loss change of ablating each node alone, and which metric predicts the change.

    Measured on the same samples for every node, with standard errors of the paired differences.
    Correlations are over all measured nodes, also those whose ablation improves the loss.

    Attributes:
        nodes: nodes measured in each group, one at random from each of so many equal strata along
            the mean importance rank of the metrics; null measures all.
        replace: what is read in place of a node, zero or its mean over the calibration samples.
        top: fraction of the measured nodes of a group that counts as the most important ones.
        groups: patterns of the names of the groups to measure, such as ``*:single_query_heads``;
            null takes all but these, whose weights are those of other groups.
    """

    nodes: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    replace: Literal["zero", "mean"] = "zero"
    top: float = field(default=0.25, validator=[validators.gt(0.0), validators.lt(1.0)])
    groups: tuple[str, ...] | None = None

    def run(self, request: InterventionRequest) -> Finding:
        from nodelens.interventions.oracle.finding import oracle

        return oracle(self, request)
