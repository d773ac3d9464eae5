"""What pairs of nodes say about the output: redundant, unique and synergistic parts, in nats.

Gaussian nodes and a scalar target, decomposed by minimal mutual information: for a univariate
target every decomposition whose redundancy depends on the two source-target marginals alone is this
one (Barrett 2015, arXiv:1411.2832). Per image where the output is per image, from row means; per
token else. Every node and the target are given a little independent noise, `noise` of their
variance: what exact duplicates say is then redundant, and their synergy next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.statistic import OUTPUTS
from nodelens_metrics.information import NOISE, RANK
from nodelens_metrics.pairs import Target
from nodelens_metrics.target_gram import TargetGram
from nodelens_metrics.targets import OUTPUT_INVARIANCES

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_SOURCE = "Barrett 2015, arXiv:1411.2832, minimal mutual information of two Gaussian sources"
_TARGETS = validators.in_(OUTPUTS)
_PARTNERS = validators.optional(validators.ge(1))
_RANKS = validators.optional(validators.ge(2))
_LEAST = validators.ge(1e-12)


@frozen
class TargetRedundancy:
    """What a node and another both say about the output, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node. With an exact duplicate it is all that
    the node says, whatever the duplicate's sign and scale.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        top: average the largest `top` partners only; 1 is the largest, None averages all.
        correct_bias: subtract what independent Gaussian samples give on average.
        noise: relative variance of the noise given to every node and to the target.
        sketch: rank of the sketch that correlations are estimated from; None takes them exact.
    """

    target: Target = field(default="margin", validator=_TARGETS)
    top: int | None = field(default=None, validator=_PARTNERS)
    correct_bias: bool = False
    noise: float = field(default=NOISE, validator=_LEAST)
    sketch: int | None = field(default=None, validator=_RANKS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j min(I(T; a_i), I(T; a_j)), I = −½ log(1 − r²)"
    source: ClassVar[str] = _SOURCE
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "best"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of nodes and outputs."""
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetRedundancy:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean redundancy."""
        from nodelens_metrics.pairs import averaged

        return averaged(group, self, "redundancy").clamp(min=0.0)


@frozen
class TargetUnique:
    """What a node says about the output beyond the redundancy, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        top: average the `top` partners only that leave the node least; 1 is the best substitute,
            None averages all.
        correct_bias: subtract what independent Gaussian samples give on average.
        noise: relative variance of the noise given to every node and to the target.
        sketch: rank of the sketch that correlations are estimated from; None takes them exact.
    """

    target: Target = field(default="margin", validator=_TARGETS)
    top: int | None = field(default=None, validator=_PARTNERS)
    correct_bias: bool = False
    noise: float = field(default=NOISE, validator=_LEAST)
    sketch: int | None = field(default=None, validator=_RANKS)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j I(T; a_i) − min(I(T; a_i), I(T; a_j))"
    source: ClassVar[str] = _SOURCE
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of nodes and outputs."""
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetUnique:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean unique information."""
        from nodelens_metrics.pairs import averaged

        return averaged(group, self, "unique", largest=False).clamp(min=0.0)


@frozen
class TargetSynergy:
    """What only a node and another together say about the output, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node. A difference of near-equal numbers: N
    independent samples of unrelated nodes give about 1/(2N) nats, which the correction takes off.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        top: average the largest `top` partners only; 1 is the largest, None averages all.
        correct_bias: subtract what independent Gaussian samples give on average.
        noise: relative variance of the noise given to every node and to the target.
        sketch: rank of the sketch that correlations are estimated from; None takes them exact.
    """

    target: Target = field(default="margin", validator=_TARGETS)
    top: int | None = field(default=None, validator=_PARTNERS)
    correct_bias: bool = False
    noise: float = field(default=NOISE, validator=_LEAST)
    sketch: int | None = field(default=None, validator=_RANKS)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j I(T; a_i, a_j) − max(I(T; a_i), I(T; a_j))"
    source: ClassVar[str] = _SOURCE
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of nodes and outputs."""
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetSynergy:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean synergy."""
        from nodelens_metrics.pairs import averaged

        return averaged(group, self, "synergy").clamp(min=0.0)


@frozen
class CoInformation:
    """Redundancy less synergy of a node with each other node about the output, on average.

    Minus the interaction information; negative where synergy prevails. 0 for dead and constant
    nodes and in groups of one node.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        top: average the largest `top` partners only; 1 is the largest, None averages all.
        correct_bias: subtract what independent Gaussian samples give on average.
        noise: relative variance of the noise given to every node and to the target.
        sketch: rank of the sketch that correlations are estimated from; None takes them exact.
    """

    target: Target = field(default="margin", validator=_TARGETS)
    top: int | None = field(default=None, validator=_PARTNERS)
    correct_bias: bool = False
    noise: float = field(default=NOISE, validator=_LEAST)
    sketch: int | None = field(default=None, validator=_RANKS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_j I(T; a_i) + I(T; a_j) − I(T; a_i, a_j)"
    source: ClassVar[str] = "McGill 1954, 10.1007/BF02289159, interaction information of Gaussians"
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of nodes and outputs."""
        return (TargetGram(self.sketch),)

    def sketched(self) -> CoInformation:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean co-information."""
        from nodelens_metrics.pairs import averaged

        return averaged(group, self, "co_information")


@frozen
class TargetExcess:
    """The largest synergies of a node within a pool of the partners that it shares most with.

    0 for dead and constant nodes and in groups of one node. Uncorrected it is the mean of the
    largest of many noisy numbers: the correction takes off their mean bias, not that of choosing.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        pool: partners that are considered, those most correlated with the node.
        top: average the largest synergies of the pool.
        correct_bias: subtract what independent Gaussian samples give on average.
        noise: relative variance of the noise given to every node and to the target.
        sketch: rank of the sketch that correlations are estimated from; None takes them exact.
    """

    target: Target = field(default="margin", validator=_TARGETS)
    pool: int = field(default=32, validator=validators.ge(1))
    top: int = field(default=4, validator=validators.ge(1))
    correct_bias: bool = False
    noise: float = field(default=NOISE, validator=_LEAST)
    sketch: int | None = field(default=None, validator=_RANKS)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = (
        "mean of the largest I(T; a_i, a_j) − max(I_i, I_j), j in the pool of largest |ρ_ij|"
    )
    source: ClassVar[str] = "Safaai et al. 2026, 2605.07086, target excess"
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of nodes and outputs."""
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetExcess:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean synergy."""
        from nodelens_metrics.pairs import averaged

        return averaged(group, self, "synergy", pool=self.pool).clamp(min=0.0)
