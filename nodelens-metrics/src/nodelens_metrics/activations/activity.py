"""Metrics of a node's activation on the calibration data, without weights or labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens_metrics.mathematics.intervals import HIGH_MOMENT, LARGEST

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


@frozen
class ActivationMeanAbs:
    """Mean absolute activation over all positions; 0 for a dead node."""

    info = MetricInfo(
        formula="E|a|; of components c: Σ_c E|a_c|",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )
    statistics = (Magnitudes(),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[Magnitudes()].mean_abs)


@frozen
class ActivationMean:
    """Mean activation over all positions; 0 for a dead node.

    The value of a node that is replaced by its mean; one of several components is replaced by the
    vector of their means. Signed, so that nodes are not ranked.
    """

    info = MetricInfo(
        formula="E a; of components c: mean_c E a_c",
        unit="activation",
        higher_is_better=None,
        invariances=frozenset({"incoming_scale"}),
    )
    statistics = (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        return group.average(group[Moments()].mean)


@frozen
class ActivationRMS:
    """Root mean square activation over all positions; 0 for a dead node."""

    info = MetricInfo(
        formula="(E a²)^½; of components c: (Σ_c E a_c²)^½",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[Moments()].mean_square).sqrt()


@frozen
class ActivationVariance:
    """Variance of the activation over all positions; 0 for dead and constant nodes.

    The mean squared error of replacing a node by its mean.
    """

    info = MetricInfo(
        formula="E(a − μ)²; of components c: Σ_c E(a_c − μ_c)²",
        unit="activation²",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"activation_shift", "incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[Moments()].variance)


@frozen
class ZeroFraction:
    """Fraction of positions where the activation is zero (APoZ); 1 for a dead node.

    Meant for ReLU. Activations that never reach zero (GELU, SiLU) need a tolerance: absolute, which
    depends on how the activation is scaled, or relative to the node's root mean square, which finds
    nodes that are mostly near their own zero. The relative fraction is read from log bins, see
    `nodelens_metrics.activations.distributions`.

    Attributes:
        tolerance: count |a| up to this value as zero, 0 or more.
        relative: take the tolerance in units of the node's root mean square.
    """

    info = MetricInfo(
        formula=(
            "#(|a| ≤ tolerance) / N; relative: #(|a| ≤ tolerance · (E a²)^½) / N; mean over "
            "components"
        ),
        unit="1",
        higher_is_better=False,
        source="Hu et al. 2016, Network Trimming, 1607.03250, the definition of APoZ",
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )

    tolerance: float = field(default=0.0, validator=validators.ge(0.0))
    relative: bool = option(False, beside={"tolerance": 0.5})

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        if self.relative:
            return (LogHistogram(), Moments())
        return (Magnitudes(tolerance=self.tolerance),)

    def score(self, group: GroupView) -> Tensor:
        if self.relative:
            bound = self.tolerance * group[Moments()].rms
            return group.average(group[LogHistogram()].share_below(bound))
        return group.average(group[Magnitudes(tolerance=self.tolerance)].zero_fraction)


@frozen
class Kurtosis:
    """Kurtosis of the activation: 3 for a Gaussian, large for rare, strong activations.

    A node that is constant, up to the rounding of fourth powers, has no shape and gets 0. A node
    that varies has a kurtosis of at least 1.
    """

    info = MetricInfo(
        formula="E(a − μ)⁴ / Var(a)²; of components c: Σ_c E(a_c − μ_c)⁴ / Σ_c Var(a_c)²",
        unit="1",
        higher_is_better=None,
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
        no_interval=HIGH_MOMENT,
    )
    statistics = (Moments(order=4),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio, varies

        shape = group[Moments(order=4)]
        assert shape.fourth is not None
        variance = shape.variance.where(varies(shape.mean, shape.variance), 0.0)
        return ratio(group.total(shape.fourth), group.total(variance.square()))


@frozen
class Skewness:
    """Skewness of the activation: 0 where symmetric, positive with a tail upwards.

    0 for a node that is constant, up to the rounding of cubes.
    """

    info = MetricInfo(
        formula="E(a − μ)³ / Var(a)^3/2; of components c: Σ_c E(a_c − μ_c)³ / Σ_c Var(a_c)^3/2",
        unit="1",
        higher_is_better=None,
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
        no_interval=HIGH_MOMENT,
    )
    statistics = (Moments(order=4),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio, varies

        shape = group[Moments(order=4)]
        assert shape.third is not None
        variance = shape.variance.where(varies(shape.mean, shape.variance), 0.0)
        return ratio(group.total(shape.third), group.total(variance * variance.sqrt()))


@frozen
class OutlierIndex:
    """Largest |activation| of a node over its root mean square activation.

    At least 1 for a node that is ever active; 0 for a dead node. The largest value grows with the
    amount of data, so compare nodes of one run only; it has no jackknife standard error.
    """

    info = MetricInfo(
        formula="max |a| / (E a²)^½; the largest over components",
        unit="1",
        higher_is_better=None,
        invariances=frozenset({"activation_scale", "functional", "incoming_scale"}),
        no_interval=LARGEST,
    )
    statistics = (Magnitudes(), Moments())

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        return group.largest(ratio(group[Magnitudes()].peak, group[Moments()].rms))


@frozen
class Minitron:
    """Root mean square over rows of the mean absolute activation of a row (Minitron).

    The published score sums over rows and grows with the data; here the sum is divided by the
    number of rows, which changes no ranking. 0 for a dead node.
    """

    info = MetricInfo(
        formula="(1/N Σ_n (mean_t |a_nt|)²)^½; of components c: (Σ_c 1/N Σ_n (mean_t |a_ntc|)²)^½",
        unit="activation",
        higher_is_better=True,
        source=(
            "Muralidharan et al. 2024, Minitron, 2407.14679, neuron importance with mean over a "
            "row "
            "and L2 norm over rows; NVIDIA Model-Optimizer, L2NormHook"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )
    statistics = (RowMoments(),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[RowMoments()].abs_mean_square).sqrt()
