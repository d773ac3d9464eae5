"""What the other nodes of a layer already say: Gaussian information between nodes, in nats.

Both metrics give every node a little independent noise, `noise` of its variance. Without it an
exact duplicate would have infinite information; with it, a pair of duplicates gets
−½ log(1 − 1/(1+noise)²) from either metric: 6.56 nats at the default of 1e-6, which is about the
rounding noise of bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen, validators

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic

NOISE = 1e-6
"""Relative variance of the noise that every node is given."""


@frozen
class Redundancy:
    """The mean information that a node shares with each other node of its group.

    Averaged over all other nodes, constant ones included (they share nothing). A plug-in estimate:
    independent nodes get about 1/(2N) nats from N independent samples, and the largest few of many
    partners more. 0 for dead and constant nodes and in groups of one node.

    Attributes:
        top: average the largest `top` partners only; None averages all.
        positive_only: count negatively correlated partners as sharing nothing, since they cannot
            stand in for the node without a change of sign.
        noise: relative variance of the independent noise given to every node; sets what exact
            duplicates get; at least 1e-12, what float64 resolves.
    """

    top: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    positive_only: bool = False
    noise: float = field(default=NOISE, validator=validators.ge(1e-12))
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j −½ log(1 − ρ_ij²/(1+noise)²), j ≠ i"
    source: ClassVar[str] = "Cover & Thomas 2006, Elements of Information Theory, Gaussian case"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "best"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean pairwise information."""
        rho = group[Gram()].correlation / (1.0 + self.noise)
        if self.positive_only:
            rho = rho.clamp(min=0.0)
        shared = -0.5 * (-rho.square()).log1p()
        partners = group.width - 1
        if partners == 0:
            return shared.sum(1) * 0.0
        count = min(self.top or partners, partners)
        return shared.fill_diagonal_(0.0).topk(count, dim=1).values.mean(1)


@frozen
class PeerRedundancy:
    """The information that all other nodes together have about a node: ½ log of its VIF.

    1 − exp(−2·score) is the R² of predicting the node from its peers. Needs clearly more samples
    than nodes; with fewer, every node looks predictable up to the noise. 0 for dead and constant
    nodes and in groups of one node.

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
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "best"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information, 0 or more."""
        import torch

        matrix = group[Gram()].correlation
        matrix.diagonal().add_(self.noise)
        factor = torch.linalg.cholesky(matrix)
        precision = torch.cholesky_inverse(factor).diagonal()
        return 0.5 * (matrix.diagonal() * precision).log().clamp(min=0.0)
