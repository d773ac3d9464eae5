"""What the other nodes of a layer already say: Gaussian information between nodes, in nats.

Both metrics give every node a little independent noise, `noise` of its variance. Without it an
exact duplicate would have infinite information; with it, a pair of duplicates gets
−½ log(1 − 1/(1+noise)²) from either metric: 6.56 nats at the default of 1e-6, which is about the
rounding noise of bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, field, frozen, validators

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.quantities import Quantity

NOISE = 1e-6
"""Relative variance of the noise that every node is given."""

RANK = 1024
"""Rank of a sketch where the whole covariance does not fit the memory: ρ ± 0.03 to 0.04."""

INVARIANCES = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
"""Scale and offset of a node do not matter to what it says."""


def second_moments(sketch: int | None, of: Quantity = "value") -> Statistic[Any]:
    """Return the statistic that correlations are read from: exact, or a sketch of some rank."""
    from nodelens.statistics.sketch import GramSketch

    return Gram(of=of) if sketch is None else GramSketch(of=of, rank=sketch)


@frozen
class Redundancy:
    """The mean information that a node shares with each other node of its group.

    Averaged over all other nodes, constant ones included (they share nothing). A plug-in estimate
    unless corrected: independent nodes get about 1/(2N) nats from N independent samples, and the
    largest few of many partners up to log(nodes)/N more, which no option takes off. 0 for dead and
    constant nodes and in groups of one node.

    The covariance is read in tiles: only sums over partners and the largest are kept. A sketch of
    it costs rank × nodes instead of nodes² / 2 and adds about 1/(2·rank) nats to every pair.

    Attributes:
        top: average the largest `top` partners only; None averages all.
        positive_only: count negatively correlated partners as sharing nothing, since they cannot
            stand in for the node without a change of sign.
        noise: relative variance of the independent noise given to every node; sets what exact
            duplicates get; at least 1e-12, what float64 resolves.
        correct_bias: subtract what independent Gaussian nodes would get from as many independent
            samples, and from a sketch; the mean is at least 0. Positions of one row depend on each
            other, so that for them the correction is too small.
        sketch: rank of the sketch that the correlations are estimated from; None takes them exact.
    """

    top: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    positive_only: bool = False
    noise: float = field(default=NOISE, validator=validators.ge(1e-12))
    correct_bias: bool = False
    sketch: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j −½ log(1 − ρ_ij²/(1+noise)²), j ≠ i"
    source: ClassVar[str] = "Cover & Thomas 2006, Elements of Information Theory, Gaussian case"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "best"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations, or a sketch of it."""
        return (second_moments(self.sketch),)

    def sketched(self) -> Redundancy:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean pairwise information."""
        from nodelens_metrics.estimators import gaussian_information_bias
        from nodelens_metrics.pairwise import mean_information
        from nodelens_metrics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)])
        bias = float(gaussian_information_bias(1, 1, rho.count)) if self.correct_bias else 0.0
        return mean_information(
            rho, noise=self.noise, top=self.top, positive_only=self.positive_only, bias=bias
        )


@frozen
class PeerRedundancy:
    """The information that all other nodes together have about a node: ½ log of its VIF.

    1 − exp(−2·score) is the R² of predicting the node from its peers. Needs clearly more samples
    than nodes; with fewer, every node looks predictable up to the noise, for which reason there is
    no version from a sketch. 0 for dead and constant nodes and in groups of one node.

    Attributes:
        noise: relative variance of the independent noise given to every node (a ridge relative to
            the trace of the correlation matrix); sets what exact duplicates get; at least
            1e-12, what float64 resolves.
    """

    noise: float = field(default=NOISE, validator=validators.ge(1e-12))
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ log(C_ii (C⁻¹)_ii), C = corr + noise·I"
    source: ClassVar[str] = "variance inflation factor; common"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "best"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information, 0 or more."""
        import torch

        from nodelens_metrics.sets import with_noise

        matrix = with_noise(group[Gram()].correlation, self.noise)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(matrix)).diagonal()
        return 0.5 * precision.log().clamp(min=0.0)
