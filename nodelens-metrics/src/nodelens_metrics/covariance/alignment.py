"""Metrics of the alignment of a node's incoming weights with the covariance of the input.

w is the row of weights that writes a node and x the input of the row (for a convolution the
patches, zero padding included). Σ is the covariance of x with eigenvalues λ_k and eigenvectors e_k,
y = wᵀx + b the pre-activation. Nodes without weights, and inputs that do not vary, give 0.

A gated unit is written by two rows that read the same x, a head by a block of rows of three
weights: there is no single w. The option `producer` names the weight to read (``up_proj``,
``v_proj``); where it writes a node with several rows W, wᵀΣw becomes tr WΣWᵀ and ‖w‖² becomes
‖W‖_F², so that the quotient is the mean over the rows, weighted by their squared norms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.moments import Moments
from nodelens.weights.row_sums import RowSums
from nodelens.weights.rows import WrittenRows
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import BIASED
from nodelens_metrics.mathematics.second_moments import COVARIANCE

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.interfaces.weight_reduction import WeightReduction
    from nodelens.scoring.producers import Producer
    from nodelens.scoring.view import GroupView

_PREACTIVATION = Moments(reads="preactivation")
_INPUT = Moments(reads="input")

_STUDY = "Safaai et al. 2026, 2605.07086"
_SQUARES = RowSums("square", "producer")
_SCALE_FREE = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})


@frozen
class RayleighQuotient:
    """Input variance along a node's weights: wᵀΣw / wᵀw, Σ the covariance of the input.

    Read as Var(y)/‖w‖² from the pre-activation, which is the same number without the covariance,
    unless the producer is named: the pre-activations of several producers are not read apart.

    Attributes:
        scale: the divisor: none, the layer's mean quotient (1 is then ordinary in every layer), the
            trace of Σ (the fraction of the input's variance), or the largest eigenvalue of Σ (1 for
            the leading direction; needs the covariance). All but the first give a pure number.
        producer: name of the weight to read, or the last parts of its path; needs the covariance.
            None takes the only row that writes a node.
    """

    info = MetricInfo(
        formula="wᵀΣw / wᵀw = Var(y) / ‖w‖², divided by the scale",
        unit="input²",
        higher_is_better=True,
        source=f"{_STUDY}; Rayleigh quotient",
        invariances=_SCALE_FREE,
    )

    scale: Literal["absolute", "layer", "trace", "largest"] = option(
        "absolute",
        validators.in_(("absolute", "layer", "trace", "largest")),
        beside=[{}, {"producer": "layer"}],
    )
    producer: str | None = options.producer()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        if self.producer is not None:
            return (COVARIANCE,)
        scales: dict[str, tuple[Statistic[Any], ...]] = {
            "trace": (_INPUT,),
            "largest": (COVARIANCE,),
        }
        return (_PREACTIVATION, *scales.get(self.scale, ()))

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        producer = self._producer(group)
        variance = self._variance(group, producer)
        if self.scale in ("trace", "largest"):
            variance = ratio(variance, self._of_input(group, producer)[producer.block])
        quotient = ratio(variance.sum(1), self._squares(group))
        return ratio(quotient, quotient.mean()) if self.scale == "layer" else quotient

    @property
    def weights(self) -> tuple[WeightReduction[Any], ...]:
        return (_SQUARES,) if self.producer is None else (WrittenRows(self.producer),)

    def _squares(self, group: GroupView) -> Tensor:
        """Return the squared norm of the rows of each node, ``(nodes,)``."""
        if self.producer is None:
            return group[_SQUARES].total
        return group[WrittenRows(self.producer)].rows.square().sum((1, 2))

    def _producer(self, group: GroupView) -> Producer:
        return group.producer() if self.producer is None else group.written_by(self.producer)

    def _variance(self, group: GroupView, producer: Producer) -> Tensor:
        """Return the variance that every row writes, ``(nodes, rows)``."""
        from nodelens_metrics.covariance.directions import input_covariance, written_variance

        if self.producer is None:
            return group[_PREACTIVATION].variance.unsqueeze(1)
        return written_variance(producer, input_covariance(group, producer))

    def _of_input(self, group: GroupView, producer: Producer) -> Tensor:
        """Return the scale of every run of input features, ``(blocks,)``."""
        from nodelens_metrics.covariance.directions import input_covariance
        from nodelens_metrics.mathematics.spectra import eigenvalues

        if self.scale == "trace" and self.producer is None:
            return group[_INPUT].variance.view(producer.blocks, -1).sum(1)
        covariance = input_covariance(group, producer)
        if self.scale == "trace":
            return covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        return eigenvalues(covariance)[:, -1]


@frozen
class ClassRayleighQuotient:
    """Input variance along a node's weights within a class: wᵀΣ_c w / wᵀw.

    Σ_c is the covariance of the node's input in samples of class c. Classes with fewer than two
    samples are left out.

    Attributes:
        across: reduction over classes: the mean over samples, the largest, or the smallest.
    """

    info = MetricInfo(
        formula="Var(y | c) / ‖w‖², mean, largest or smallest over classes c",
        unit="input²",
        higher_is_better=True,
        source=f"{_STUDY}, class-conditioned Rayleigh quotient",
        invariances=_SCALE_FREE,
    )
    statistics = (ClassMoments(reads="preactivation", per="position"),)
    weights = (_SQUARES,)

    across: Literal["mean", "largest", "smallest"] = field(
        default="mean", validator=validators.in_(("mean", "largest", "smallest"))
    )

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        group.producer()
        norm = group[_SQUARES].total
        classes = group[self.statistics[0]]
        there = classes.count > 1
        variance, count = classes.variance[there], classes.count[there].unsqueeze(1)
        if not len(variance):
            raise NotApplicableError("no class has two samples")
        if self.across == "mean":
            return ratio((variance * count).sum(0) / count.sum(), norm)
        return ratio(variance.amax(0) if self.across == "largest" else variance.amin(0), norm)


@frozen
class InputDirections:
    """Effective number of eigendirections of the input that a node's weights read.

    The exponential of the entropy of p_k, the fraction of the node's variance along eigenvector k
    of Σ. 1 for a node that reads one direction, the number of features if all count alike.
    """

    info = MetricInfo(
        formula="exp(−Σ_k p_k log p_k), p_k = (w·e_k)² λ_k / wᵀΣw",
        unit="1",
        higher_is_better=None,
        source=f"{_STUDY}, direction profile",
        invariances=_SCALE_FREE,
    )
    statistics = (COVARIANCE,)

    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WrittenRows, ...]:
        return (WrittenRows(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.covariance.directions import directions_of
        from nodelens_metrics.mathematics.arithmetic import ratio

        profile = directions_of(group, self.producer).profile()
        total = profile.sum(1)
        fraction = ratio(profile, total.unsqueeze(1))
        number: Tensor = torch.special.entr(fraction).sum(1).exp()
        return number.where(total > 0, 0.0)


@frozen
class SpectralAlignment:
    """Fraction of a node's squared weights in the leading eigendirections of the input.

    Attributes:
        variance: fraction of the input's variance that the leading directions hold together.
    """

    info = MetricInfo(
        formula="Σ_k≤K (w·e_k)² / ‖w‖², K directions hold the given fraction of trace Σ",
        unit="1",
        higher_is_better=True,
        source=f"{_STUDY}, spectral alignment",
        invariances=_SCALE_FREE,
        no_interval=BIASED,
    )
    statistics = (COVARIANCE,)

    variance: float = field(default=0.9, validator=(validators.gt(0.0), validators.lt(1.0)))
    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WrittenRows, ...]:
        return (WrittenRows(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.covariance.directions import directions_of
        from nodelens_metrics.mathematics.arithmetic import ratio

        found = directions_of(group, self.producer)
        values, producer = found.values, found.producer
        before = values.cumsum(-1) - values
        leading = (before < self.variance * values.sum(-1, keepdim=True)) & (values > 0)
        energy = (found.along.square() * leading[producer.block]).sum((1, 2))
        return ratio(energy, producer.rows.square().sum((1, 2)))


@frozen
class InputInformation:
    """Mutual information of a node and its input, as a Gaussian channel with layer noise.

    The noise is the median variance of the layer's pre-activations, over the nodes that vary, so
    the ordinary node gets ½ log 2 = 0.35 nats. 0 where the pre-activation is constant.

    Attributes:
        producer: name of the weight to read, or the last parts of its path; needs the covariance. A
            node with several rows is a channel with several outputs, of the node's mean variance.
            None takes the only row that writes a node.
    """

    info = MetricInfo(
        formula=(
            "½ log(1 + Var(y)/σ0²), σ0² = median over the layer of Var(y); several rows: "
            "½ log det(I + WΣWᵀ/σ0²)"
        ),
        unit="nats",
        higher_is_better=True,
        source=f"{_STUDY}, input information (proxy)",
        invariances=frozenset({"activation_scale", "activation_shift", "functional"}),
    )

    producer: str | None = options.producer()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (_PREACTIVATION,) if self.producer is None else (COVARIANCE,)

    @property
    def weights(self) -> tuple[WrittenRows, ...]:
        return () if self.producer is None else (WrittenRows(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import eigenvalues

        written = self._written(group)
        power = written.diagonal(dim1=-2, dim2=-1).mean(-1)
        if not (power > 0).any():
            return power * 0.0
        noise = power[power > 0].quantile(0.5)
        return 0.5 * (eigenvalues(written) / noise).log1p().sum(-1)

    def _written(self, group: GroupView) -> Tensor:
        """Return the covariance of the outputs of each node's rows, ``(nodes, rows, rows)``."""
        from nodelens_metrics.covariance.directions import input_covariance, written_covariance
        from nodelens_metrics.mathematics.arithmetic import varies

        if self.producer is not None:
            producer = group[WrittenRows(self.producer)]
            return written_covariance(producer, input_covariance(group, producer))
        group.producer()
        moments = group[_PREACTIVATION]
        live = varies(moments.mean, moments.variance)
        return moments.variance.where(live, 0.0)[:, None, None]
