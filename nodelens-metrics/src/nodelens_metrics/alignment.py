"""How a node's incoming weights are aligned with what comes in.

With w the row of weights that writes a node, x what it is multiplied with (for a convolution its
patches, zero padding included), Σ the covariance of x, λ_k and e_k its eigenvalues and -vectors,
and y = wᵀx + b the pre-activation. All need exactly one weight row per node. Nodes without weights,
and inputs that do not vary, give 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic

_PREACTIVATION = Moments(tap="preactivation")
_INPUT = Moments(tap="input")
_COVARIANCE = Gram(tap="input")
_STUDY = "Safaai et al. 2026, 2605.07086"
_SCALE_FREE = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
Dead = Literal["worst", "best", "any"]


@frozen
class RayleighQuotient:
    """The input variance along a node's weights: wᵀΣw / wᵀw, Σ the covariance of what it reads.

    Read as Var(y)/‖w‖² from the pre-activation, which is the same number without the covariance.

    Attributes:
        scale: what it is divided by: nothing, the layer's mean quotient (1 is then ordinary in
            every layer), the trace of Σ (the share of the input's variance), or the largest
            eigenvalue of Σ (1 for the leading direction; needs the covariance).
    """

    scale: Literal["absolute", "layer", "trace", "largest"] = field(
        default="absolute", validator=validators.in_(("absolute", "layer", "trace", "largest"))
    )
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "input²"
    formula: ClassVar[str] = "wᵀΣw / wᵀw = Var(y) / ‖w‖², divided by the scale"
    source: ClassVar[str] = f"{_STUDY}; Rayleigh quotient"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation, and what the scale is made of."""
        scales: dict[str, tuple[Statistic[Any], ...]] = {
            "trace": (_INPUT,),
            "largest": (_COVARIANCE,),
        }
        return (_PREACTIVATION, *scales.get(self.scale, ()))

    def score(self, group: GroupView) -> Tensor:
        """Return the quotients; raises `NotApplicableError` unless one weight row writes a node."""
        from nodelens_metrics.arithmetic import ratio

        producer = group.producer()
        quotient = ratio(group[_PREACTIVATION].variance, producer.weight.square().sum(1))
        if self.scale == "absolute":
            return quotient
        if self.scale == "layer":
            return ratio(quotient, quotient.mean())
        return ratio(quotient, self._of_input(group)[producer.block])

    def _of_input(self, group: GroupView) -> Tensor:
        """Return the scale of every run of input features, ``(blocks,)``."""
        from nodelens_metrics.spectra import blocks_of, eigenvalues

        if self.scale == "trace":
            return group[_INPUT].variance.view(group.producer().blocks, -1).sum(1)
        return eigenvalues(blocks_of(group[_COVARIANCE].covariance))[:, -1]


@frozen
class ClassRayleighQuotient:
    """The input variance along a node's weights within a class: wᵀΣ_c w / wᵀw.

    Σ_c is the covariance of what a node reads in samples of class c. Classes that do not occur are
    left out.

    Attributes:
        across: how classes are put together: the mean over samples, the largest, or the smallest.
    """

    across: Literal["mean", "largest", "smallest"] = field(
        default="mean", validator=validators.in_(("mean", "largest", "smallest"))
    )
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "input²"
    formula: ClassVar[str] = "Var(y | c) / ‖w‖², mean, largest or smallest over classes c"
    source: ClassVar[str] = f"{_STUDY}, class-conditioned Rayleigh quotient"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation by class."""
        return (ClassMoments(tap="preactivation", per="position"),)

    def score(self, group: GroupView) -> Tensor:
        """Return the quotients; raises `NotApplicableError` unless one weight row writes a node."""
        from nodelens_metrics.arithmetic import ratio

        norm = group.producer().weight.square().sum(1)
        classes = group[self.needs()[0]]
        there = classes.count > 0
        variance, count = classes.variance[there], classes.count[there].unsqueeze(1)
        if not len(variance):
            raise NotApplicableError("no row has a label")
        if self.across == "mean":
            return ratio((variance * count).sum(0) / count.sum(), norm)
        return ratio(variance.amax(0) if self.across == "largest" else variance.amin(0), norm)


@frozen
class InputDirections:
    """How many directions of its input a node draws on: the exponential of the profile's entropy.

    The profile is the share of a node's variance that each eigenvector of Σ gives; 1 for a node
    that follows one direction, the number of features for one that follows all alike.
    """

    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "exp(−Σ_k p_k log p_k), p_k = (w·e_k)² λ_k / wᵀΣw"
    source: ClassVar[str] = f"{_STUDY}, direction profile"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the input."""
        return (_COVARIANCE,)

    def score(self, group: GroupView) -> Tensor:
        """Return the effective numbers of directions, 0 where the input does not reach the node."""
        import torch

        from nodelens_metrics.arithmetic import ratio

        profile = direction_profile(group)
        total = profile.sum(1)
        share = ratio(profile, total.unsqueeze(1))
        number: Tensor = torch.special.entr(share).sum(1).exp()
        return number.where(total > 0, 0.0)


@frozen
class SpectralAlignment:
    """The share of a node's weights that lies in the leading directions of its input.

    Attributes:
        variance: how much of the input's variance the leading directions hold together.
    """

    variance: float = field(default=0.9, validator=(validators.gt(0.0), validators.lt(1.0)))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "Σ_k≤K (w·e_k)² / ‖w‖², K directions hold the given share of trace Σ"
    source: ClassVar[str] = f"{_STUDY}, spectral alignment"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the input."""
        return (_COVARIANCE,)

    def score(self, group: GroupView) -> Tensor:
        """Return the shares, between 0 and 1."""
        import torch

        from nodelens_metrics.arithmetic import ratio
        from nodelens_metrics.spectra import blocks_of

        producer = group.producer()
        values, vectors = torch.linalg.eigh(blocks_of(group[_COVARIANCE].covariance))
        values = values.clamp(min=0.0).flip(-1)
        before = values.cumsum(-1) - values
        leading = (before < self.variance * values.sum(-1, keepdim=True)) & (values > 0)
        parts = _projections(producer.weight, vectors.flip(-1), producer.block).square()
        share: Tensor = (parts * leading[producer.block]).sum(1)
        return ratio(share, producer.weight.square().sum(1))


def direction_profile(group: GroupView) -> Tensor:
    """Return the variance that every direction of the input gives each node, ``(nodes, features)``.

    (w·e_k)² λ_k, from the largest eigenvalue to the smallest; its sum over k is wᵀΣw.
    """
    import torch

    from nodelens_metrics.spectra import blocks_of

    producer = group.producer()
    values, vectors = torch.linalg.eigh(blocks_of(group[_COVARIANCE].covariance))
    values = values.clamp(min=0.0).flip(-1)
    along = _projections(producer.weight, vectors.flip(-1), producer.block)
    profile: Tensor = along.square() * values[producer.block]
    return profile


def _projections(weight: Tensor, vectors: Tensor, block: Tensor) -> Tensor:
    """Return w·e_k, ``(nodes, features)``, each node with the eigenvectors of its own block."""
    if len(vectors) == 1:
        return weight @ vectors[0]
    import torch

    return torch.einsum("nf,nfk->nk", weight, vectors[block])


@frozen
class InputInformation:
    """What a node says about its input, as a Gaussian channel with the layer's noise.

    The noise is the median variance of the layer's pre-activations, over the nodes that vary, so
    the ordinary node gets ½ log 2 = 0.35 nats. 0 where the pre-activation is constant.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ log(1 + Var(y)/σ0²), σ0² = median over the layer of Var(y)"
    source: ClassVar[str] = f"{_STUDY}, input information (proxy)"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional"}
    )
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation."""
        return (_PREACTIVATION,)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` without a pre-activation site."""
        from nodelens_metrics.arithmetic import varies

        moments = group[_PREACTIVATION]
        live = varies(moments.mean, moments.variance)
        if not live.any():
            return moments.variance * 0.0
        signal = moments.variance.where(live, 0.0)
        return 0.5 * (signal / signal[live].quantile(0.5)).log1p()
