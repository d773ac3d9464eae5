"""The spectrum of a layer's weights: layer metrics that need no data.

W is the weight that writes the group (a convolution's kernels flattened to ``(outputs, inputs ·
kernel)``), σ its singular values, λ = σ². Where several weights write the group (gate and up
projection, query, key and value, a residual stream) every one has a spectrum of its own, and the
option `producer` names the one that is asked about. A weight with several groups in one matrix (a
fused projection) is taken whole as far as it writes the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.spectra import PowerLaw

Dead = Literal["worst", "best", "any"]
_MARTIN = "Martin & Mahoney 2021, 1901.08276 and 2002.06716; WeightWatcher"
_DATA_FREE = frozenset({"activation_scale", "activation_shift", "functional"})


def _values(group: GroupView, producer: str | None) -> Tensor:
    """Return the squared singular values of the weight, falling; raises unless it has any."""
    from nodelens_metrics.spectra import squared_singular_values

    values = squared_singular_values(group.written_by(producer).weight)
    if not values[0] > 0:
        raise NotApplicableError("all weights are 0")
    return values


def _fitted(values: Tensor) -> PowerLaw:
    from nodelens_metrics.spectra import power_law

    fitted = power_law(values)
    if fitted is None:
        raise NotApplicableError("a power law needs at least six different singular values")
    return fitted


@frozen
class WeightAlpha:
    """The exponent of the power law in the tail of a weight's spectrum (WeightWatcher's α).

    Between 2 and 6 in well-trained layers, by the source; larger where a layer has learnt little.
    The tail starts where the Kolmogorov–Smirnov distance is smallest. For convolutions the source
    pools the spectra of the kernel positions instead of flattening them.

    Attributes:
        weighted: multiply by log10 λ_max (α̂, α-hat), which takes the layer's scale into account.
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    weighted: bool = False
    producer: str | None = None
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "α = 1 + n / Σ log(λ/λ_min); weighted: α · log10 λ_max"
    source: ClassVar[str] = f"{_MARTIN}; estimator of Clauset et al. 2009, eq. 3.1"
    invariances: ClassVar[frozenset[str]] = _DATA_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return α or α̂."""
        values = _values(group, self.producer)
        fitted = _fitted(values)
        return values[:1] * 0.0 + fitted.alpha * (values[0].log10() if self.weighted else 1.0)


@frozen
class WeightAlphaDistance:
    """How badly a power law fits the tail of a weight's spectrum: Kolmogorov–Smirnov distance.

    Attributes:
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    producer: str | None = None
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "max |F_empirical − F_fitted| over the tail"
    source: ClassVar[str] = f"{_MARTIN}; Clauset et al. 2009, section 3.3"
    invariances: ClassVar[frozenset[str]] = _DATA_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the distance, between 0 and 1."""
        values = _values(group, self.producer)
        return values[:1] * 0.0 + _fitted(values).distance


@frozen
class WeightStableRank:
    """The stable rank of a weight: its squared Frobenius norm over its squared spectral norm.

    Attributes:
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    producer: str | None = None
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "‖W‖_F² / ‖W‖_2²"
    source: ClassVar[str] = "Rudelson & Vershynin 2007"
    invariances: ClassVar[frozenset[str]] = _DATA_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the rank, at least 1."""
        values = _values(group, self.producer)
        return (values.sum() / values[0]).view(1)


@frozen
class WeightEffectiveRank:
    """The effective rank of a weight.

    Attributes:
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    producer: str | None = None
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "exp(−Σ p log p), p_k = σ_k / Σ σ"
    source: ClassVar[str] = "Roy & Vetterli 2007, The effective rank, definition 1"
    invariances: ClassVar[frozenset[str]] = _DATA_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the rank, at least 1."""
        from nodelens_metrics.spectra import effective_rank

        return effective_rank(_values(group, self.producer)).view(1)


@frozen
class WeightSpikes:
    """How far a weight's spectrum sticks out of what a random matrix of its size would have.

    The Marchenko–Pastur edge λ₊ has the bulk's variance, estimated from the values below it; rows
    and columns of zeros do not count. Spikes so many that the mean of all puts the edge above them,
    a third of all directions or more, cannot be told from a bulk.

    Attributes:
        of: the largest value over the edge, or the number of values above it.
        producer: name of the weight that is asked about, or the last parts of its path; None takes
            the only one that writes the nodes.
    """

    of: Literal["largest", "number"] = field(
        default="largest", validator=validators.in_(("largest", "number"))
    )
    producer: str | None = None
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "λ_max / λ₊, or #{λ_k > λ₊}; λ₊ = σ²(√n + √m)²"
    source: ClassVar[str] = f"Marchenko & Pastur 1967; {_MARTIN}"
    invariances: ClassVar[frozenset[str]] = _DATA_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the ratio, or the number; raises `NotApplicableError` where there is no bulk."""
        from nodelens_metrics.spectra import bulk_edge

        values = _values(group, self.producer)
        live = group.written_by(self.producer).weight != 0
        edge = bulk_edge(values, int(live.any(1).sum()), int(live.any(0).sum()))
        if not 0.0 < float(edge) < float("inf"):
            raise NotApplicableError("no bulk can be told from the eigenvalues of its weight")
        return values[:1] / edge if self.of == "largest" else (values > edge).sum().double().view(1)
