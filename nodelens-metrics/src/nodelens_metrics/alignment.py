"""How a node's incoming weights are aligned with what comes in.

With w the row of weights that writes a node, x what it is multiplied with (for a convolution its
patches, zero padding included), Σ the covariance of x, λ_k and e_k its eigenvalues and -vectors,
and y = wᵀx + b the pre-activation. Nodes without weights, and inputs that do not vary, give 0.

A gated unit is written by two rows that read the same x, a head by a block of rows of three
weights: there is no one w. The option `producer` names the weight that is asked about (``up_proj``,
``v_proj``); where it writes a node with several rows W, wᵀΣw becomes tr WΣWᵀ and ‖w‖² becomes
‖W‖_F², so that the quotient is the mean over the rows, weighted by their squared norms.
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

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.producers import Producer
    from nodelens.scoring.view import GroupView

_PREACTIVATION = Moments(reads="preactivation")
_INPUT = Moments(reads="input")
COVARIANCE = Gram(reads="input")
"""The covariance of what a producer's weights are multiplied with."""

_STUDY = "Safaai et al. 2026, 2605.07086"
_SCALE_FREE = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
Dead = Literal["worst", "best", "any"]


@frozen
class RayleighQuotient:
    """The input variance along a node's weights: wᵀΣw / wᵀw, Σ the covariance of what it reads.

    Read as Var(y)/‖w‖² from the pre-activation, which is the same number without the covariance,
    unless the producer is named: several producers' pre-activations are not told apart.

    Attributes:
        scale: what it is divided by: nothing, the layer's mean quotient (1 is then ordinary in
            every layer), the trace of Σ (the share of the input's variance), or the largest
            eigenvalue of Σ (1 for the leading direction; needs the covariance). All but the first
            give a pure number.
        producer: name of the weight that is asked about, or the last parts of its path; needs the
            covariance. None takes the only row that writes a node.
    """

    scale: Literal["absolute", "layer", "trace", "largest"] = field(
        default="absolute", validator=validators.in_(("absolute", "layer", "trace", "largest"))
    )
    producer: str | None = None
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "input²"
    formula: ClassVar[str] = "wᵀΣw / wᵀw = Var(y) / ‖w‖², divided by the scale"
    source: ClassVar[str] = f"{_STUDY}; Rayleigh quotient"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation, or the covariance of the input, and what scales it."""
        if self.producer is not None:
            return (COVARIANCE,)
        scales: dict[str, tuple[Statistic[Any], ...]] = {
            "trace": (_INPUT,),
            "largest": (COVARIANCE,),
        }
        return (_PREACTIVATION, *scales.get(self.scale, ()))

    def score(self, group: GroupView) -> Tensor:
        """Return the quotients; raises `NotApplicableError` unless one weight writes the nodes."""
        from nodelens_metrics.arithmetic import ratio

        producer = self._producer(group)
        variance = self._variance(group, producer)
        if self.scale in ("trace", "largest"):
            variance = ratio(variance, self._of_input(group, producer)[producer.block])
        quotient = ratio(variance.sum(1), producer.rows.square().sum((1, 2)))
        return ratio(quotient, quotient.mean()) if self.scale == "layer" else quotient

    def _producer(self, group: GroupView) -> Producer:
        return group.producer() if self.producer is None else group.written_by(self.producer)

    def _variance(self, group: GroupView, producer: Producer) -> Tensor:
        """Return the variance that every row writes, ``(nodes, rows)``."""
        from nodelens_metrics.directions import input_covariance, written_variance

        if self.producer is None:
            return group[_PREACTIVATION].variance.unsqueeze(1)
        return written_variance(producer, input_covariance(group, producer))

    def _of_input(self, group: GroupView, producer: Producer) -> Tensor:
        """Return the scale of every run of input features, ``(blocks,)``."""
        from nodelens_metrics.directions import input_covariance
        from nodelens_metrics.spectra import eigenvalues

        if self.scale == "trace" and self.producer is None:
            return group[_INPUT].variance.view(producer.blocks, -1).sum(1)
        covariance = input_covariance(group, producer)
        if self.scale == "trace":
            return covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        return eigenvalues(covariance)[:, -1]


@frozen
class ClassRayleighQuotient:
    """The input variance along a node's weights within a class: wᵀΣ_c w / wᵀw.

    Σ_c is the covariance of what a node reads in samples of class c. Classes with fewer than two
    samples are left out.

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
        return (ClassMoments(reads="preactivation", per="position"),)

    def score(self, group: GroupView) -> Tensor:
        """Return the quotients; raises `NotApplicableError` unless one weight row writes a node."""
        from nodelens_metrics.arithmetic import ratio

        norm = group.producer().weight.square().sum(1)
        classes = group[self.needs()[0]]
        there = classes.count > 1
        variance, count = classes.variance[there], classes.count[there].unsqueeze(1)
        if not len(variance):
            raise NotApplicableError("no class has two samples")
        if self.across == "mean":
            return ratio((variance * count).sum(0) / count.sum(), norm)
        return ratio(variance.amax(0) if self.across == "largest" else variance.amin(0), norm)


@frozen
class InputDirections:
    """How many directions of its input a node draws on: the exponential of the profile's entropy.

    The profile is the share of a node's variance that each eigenvector of Σ gives; 1 for a node
    that follows one direction, the number of features for one that follows all alike.

    Attributes:
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    producer: str | None = None
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "exp(−Σ_k p_k log p_k), p_k = (w·e_k)² λ_k / wᵀΣw"
    source: ClassVar[str] = f"{_STUDY}, direction profile"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the input."""
        return (COVARIANCE,)

    def score(self, group: GroupView) -> Tensor:
        """Return the effective numbers of directions, 0 where the input does not reach the node."""
        import torch

        from nodelens_metrics.arithmetic import ratio
        from nodelens_metrics.directions import directions_of

        profile = directions_of(group, self.producer).profile()
        total = profile.sum(1)
        share = ratio(profile, total.unsqueeze(1))
        number: Tensor = torch.special.entr(share).sum(1).exp()
        return number.where(total > 0, 0.0)


@frozen
class SpectralAlignment:
    """The share of a node's weights that lies in the leading directions of its input.

    Attributes:
        variance: how much of the input's variance the leading directions hold together.
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    variance: float = field(default=0.9, validator=(validators.gt(0.0), validators.lt(1.0)))
    producer: str | None = None
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "Σ_k≤K (w·e_k)² / ‖w‖², K directions hold the given share of trace Σ"
    source: ClassVar[str] = f"{_STUDY}, spectral alignment"
    invariances: ClassVar[frozenset[str]] = _SCALE_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the input."""
        return (COVARIANCE,)

    def score(self, group: GroupView) -> Tensor:
        """Return the shares, between 0 and 1."""
        from nodelens_metrics.arithmetic import ratio
        from nodelens_metrics.directions import directions_of

        found = directions_of(group, self.producer)
        values, producer = found.values, found.producer
        before = values.cumsum(-1) - values
        leading = (before < self.variance * values.sum(-1, keepdim=True)) & (values > 0)
        share = (found.along.square() * leading[producer.block]).sum((1, 2))
        return ratio(share, producer.rows.square().sum((1, 2)))


@frozen
class InputInformation:
    """What a node says about its input, as a Gaussian channel with the layer's noise.

    The noise is the median variance of the layer's pre-activations, over the nodes that vary, so
    the ordinary node gets ½ log 2 = 0.35 nats. 0 where the pre-activation is constant.

    Attributes:
        producer: name of the weight that is asked about, or the last parts of its path; needs the
            covariance. A node that it writes with several rows is a channel with several outputs,
            of the node's mean variance. None takes the only row that writes a node.
    """

    producer: str | None = None
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = (
        "½ log(1 + Var(y)/σ0²), σ0² = median over the layer of Var(y); several rows: "
        "½ log det(I + WΣWᵀ/σ0²)"
    )
    source: ClassVar[str] = f"{_STUDY}, input information (proxy)"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional"}
    )
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation, or the covariance of the input."""
        return (_PREACTIVATION,) if self.producer is None else (COVARIANCE,)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` unless one weight writes nodes."""
        from nodelens_metrics.spectra import eigenvalues

        written = self._written(group)
        power = written.diagonal(dim1=-2, dim2=-1).mean(-1)
        if not (power > 0).any():
            return power * 0.0
        noise = power[power > 0].quantile(0.5)
        return 0.5 * (eigenvalues(written) / noise).log1p().sum(-1)

    def _written(self, group: GroupView) -> Tensor:
        """Return the covariance of what the rows of each node write, ``(nodes, rows, rows)``."""
        from nodelens_metrics.arithmetic import varies
        from nodelens_metrics.directions import input_covariance, written_covariance

        if self.producer is not None:
            producer = group.written_by(self.producer)
            return written_covariance(producer, input_covariance(group, producer))
        group.producer()
        moments = group[_PREACTIVATION]
        live = varies(moments.mean, moments.variance)
        return moments.variance.where(live, 0.0)[:, None, None]
