"""The option class of the ablation curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding
    from nodelens.interfaces.intervention import InterventionRequest


@frozen
class Ablation:
    """Loss against the fraction of ablated nodes, in the order of every metric and at random.

    Every point is evaluated on the same samples, so that differences are paired. A fraction of a
    group of `width` nodes is ``floor(fraction * width + 1/2)`` nodes, and one is always kept.
    Nodes with equal scores are ablated in a random order that the seed fixes.

    Attributes:
        fractions: fractions of the nodes that are ablated; each is one point of the curves.
        order: whether the least or the most important nodes are ablated first; both draws two
            curves.
        scope: global ablates the same fraction of every group at once, ranking nodes within their
            group; group makes one curve per group, with all other groups whole.
        metrics: the metrics to draw curves for; null takes all that have a direction.
        random: number of random orders behind the random curve and its band.
        replace: what is read in place of a node, zero or its mean over the calibration samples.
        groups: patterns of the names of the groups to ablate; null takes all but single query
            heads, whose weights are those of other groups.
    """

    fractions: tuple[float, ...] = field(
        default=(0.1, 0.3, 0.5, 0.7),
        validator=validators.deep_iterable(
            validators.and_(validators.gt(0.0), validators.lt(1.0)),
            iterable_validator=validators.min_len(1),
        ),
    )
    order: Literal["least", "most", "both"] = "both"
    scope: Literal["global", "group"] = "global"
    metrics: tuple[str, ...] | None = None
    random: int = field(default=5, validator=validators.ge(2))
    replace: Literal["zero", "mean"] = "zero"
    groups: tuple[str, ...] | None = None

    def run(self, request: InterventionRequest) -> Finding:
        from nodelens.interventions.ablation.finding import ablation

        return ablation(self, request)
