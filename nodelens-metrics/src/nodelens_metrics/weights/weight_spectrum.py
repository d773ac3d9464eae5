"""Metrics of the spectrum of a layer's weights, without data.

W is the weight that writes the group (a convolution's kernels flattened to
``(outputs, inputs · kernel)``), σ its singular values, λ = σ². Where several weights write the
group (gate and up projection, query, key and value, a residual stream) every one has a spectrum of
its own, and the option `producer` names the one to read. Of a weight with several groups in one
matrix (a fused projection) all rows that write the group count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.group_weights import GroupWeights
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.spectra import PowerLaw

_MARTIN = "Martin & Mahoney 2021, 1901.08276 and 2002.06716; WeightWatcher"
_DATA_FREE = frozenset({"activation_scale", "activation_shift", "functional"})


@frozen(eq=False)
class Spectrum:
    """The squared singular values of a weight, falling, and how many rows and columns are not 0."""

    values: Tensor
    rows: int
    columns: int


@frozen
class WeightSpectrum:
    """The spectrum of the one weight that writes the nodes.

    Attributes:
        producer: the weight, where several write the nodes.
    """

    producer: str | None = None

    def reduce(self, weights: GroupWeights) -> Spectrum:
        from nodelens_metrics.mathematics.spectra import squared_singular_values

        weight = weights.written_by(self.producer).weight
        values, live = squared_singular_values(weight), weight != 0
        if not values[0] > 0:
            raise NotApplicableError("all weights are 0")
        return Spectrum(values, int(live.any(1).sum()), int(live.any(0).sum()))


def _fitted(values: Tensor) -> PowerLaw:
    from nodelens_metrics.mathematics.spectra import power_law

    fitted = power_law(values)
    if fitted is None:
        raise NotApplicableError("a power law needs at least six different singular values")
    return fitted


@frozen
class WeightAlpha:
    """Exponent of the power law in the tail of a weight's spectrum (WeightWatcher's α).

    Between 2 and 6 in well-trained layers according to the source; larger in layers that learnt
    little. The tail starts where the Kolmogorov–Smirnov distance is smallest. For convolutions the
    source pools the spectra of the kernel positions instead of flattening them.

    Attributes:
        weighted: multiply by log10 λ_max (α̂, α-hat), which includes the layer's scale.
    """

    info = MetricInfo(
        formula="α = 1 + n / Σ log(λ/λ_min); weighted: α · log10 λ_max",
        unit="1",
        higher_is_better=None,
        source=f"{_MARTIN}; estimator of Clauset et al. 2009, eq. 3.1",
        invariances=_DATA_FREE,
        level="layer",
    )
    statistics = ()

    weighted: bool = False
    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WeightSpectrum, ...]:
        return (WeightSpectrum(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        values = group[WeightSpectrum(self.producer)].values
        fitted = _fitted(values)
        return values[:1] * 0.0 + fitted.alpha * (values[0].log10() if self.weighted else 1.0)


@frozen
class WeightAlphaDistance:
    """Kolmogorov–Smirnov distance of the power law fitted to a weight's spectrum."""

    info = MetricInfo(
        formula="max |F_empirical − F_fitted| over the tail",
        unit="1",
        higher_is_better=None,
        source=f"{_MARTIN}; Clauset et al. 2009, section 3.3",
        invariances=_DATA_FREE,
        level="layer",
    )
    statistics = ()

    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WeightSpectrum, ...]:
        return (WeightSpectrum(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        values = group[WeightSpectrum(self.producer)].values
        return values[:1] * 0.0 + _fitted(values).distance


@frozen
class WeightStableRank:
    """Stable rank of a weight: its squared Frobenius norm over its squared spectral norm."""

    info = MetricInfo(
        formula="‖W‖_F² / ‖W‖_2²",
        unit="1",
        higher_is_better=None,
        source="Rudelson & Vershynin 2007",
        invariances=_DATA_FREE,
        level="layer",
    )
    statistics = ()

    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WeightSpectrum, ...]:
        return (WeightSpectrum(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        values = group[WeightSpectrum(self.producer)].values
        return (values.sum() / values[0]).view(1)


@frozen
class WeightEffectiveRank:
    """Effective rank of a weight: exp of the entropy of the normalised singular values."""

    info = MetricInfo(
        formula="exp(−Σ p log p), p_k = σ_k / Σ σ",
        unit="1",
        higher_is_better=None,
        source="Roy & Vetterli 2007, The effective rank, definition 1",
        invariances=_DATA_FREE,
        level="layer",
    )
    statistics = ()

    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WeightSpectrum, ...]:
        return (WeightSpectrum(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import effective_rank

        return effective_rank(group[WeightSpectrum(self.producer)].values).view(1)


@frozen
class WeightSpikes:
    """Outliers of a weight's spectrum above the Marchenko–Pastur edge of a random matrix.

    The Marchenko–Pastur edge λ₊ has the bulk's variance, estimated from the values below it; rows
    and columns of zeros do not count. Many spikes, a third of all directions or more, cannot be
    separated from a bulk: their mean puts the edge above them.

    Attributes:
        of: the largest value over the edge, or the number of values above it.
    """

    info = MetricInfo(
        formula="λ_max / λ₊, or #{λ_k > λ₊}; λ₊ = σ²(√n + √m)²",
        unit="1",
        higher_is_better=None,
        source=f"Marchenko & Pastur 1967; {_MARTIN}",
        invariances=_DATA_FREE,
        level="layer",
    )
    statistics = ()

    of: Literal["largest", "number"] = field(
        default="largest", validator=validators.in_(("largest", "number"))
    )
    producer: str | None = options.producer()

    @property
    def weights(self) -> tuple[WeightSpectrum, ...]:
        return (WeightSpectrum(self.producer),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import bulk_edge

        found = group[WeightSpectrum(self.producer)]
        values, edge = found.values, bulk_edge(found.values, found.rows, found.columns)
        if not 0.0 < float(edge) < float("inf"):
            raise NotApplicableError("no bulk can be separated from the eigenvalues of its weight")
        return values[:1] / edge if self.of == "largest" else (values > edge).sum().double().view(1)
