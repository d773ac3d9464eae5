"""What a node does on the calibration data, without weights or labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen, validators

from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


@frozen
class ActivationMeanAbs:
    """The mean absolute activation over all positions; 0 for a dead node."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "activation"
    formula: ClassVar[str] = "E|a|"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Magnitudes of the activation."""
        return (Magnitudes(),)

    def score(self, group: GroupView) -> Tensor:
        """Return E|a|."""
        return group[Magnitudes()].mean_abs


@frozen
class ActivationMean:
    """The mean activation over all positions; 0 for a dead node.

    What a node becomes when it is replaced by its mean. Its sign is kept, so that it ranks nothing.
    """

    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "activation"
    formula: ClassVar[str] = "E a"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the activation."""
        return (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the means."""
        return group[Moments()].mean


@frozen
class ActivationRMS:
    """The root mean square activation over all positions; 0 for a dead node."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "activation"
    formula: ClassVar[str] = "(E a²)^½"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the activation."""
        return (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the root mean square."""
        return group[Moments()].rms


@frozen
class ActivationVariance:
    """The variance of the activation over all positions; 0 for a dead and for a constant node.

    It is what replacing a node by its mean, rather than by zero, takes away.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "activation²"
    formula: ClassVar[str] = "E(a − μ)²"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset({"activation_shift", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the activation."""
        return (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the population variance."""
        return group[Moments()].variance


@frozen
class ZeroFraction:
    """The share of positions where the activation is zero (APoZ); 1 for a dead node.

    Meant for ReLU. Activations that never reach zero (GELU, SiLU) need a tolerance: absolute, which
    depends on how the activation is scaled, or relative to the node's root mean square, which tells
    nodes that are mostly near their own zero. The relative share is read from log bins, see
    `nodelens_metrics.distributions`.

    Attributes:
        tolerance: count |a| up to this value as zero, 0 or more.
        relative: take the tolerance in units of the node's root mean square.
    """

    tolerance: float = field(default=0.0, validator=validators.ge(0.0))
    relative: bool = False
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "#(|a| ≤ tolerance) / N; relative: #(|a| ≤ tolerance · (E a²)^½) / N"
    source: ClassVar[str] = "Hu et al. 2016, Network Trimming, 1607.03250, the definition of APoZ"
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Magnitudes with the same tolerance; counts by magnitude if it is relative."""
        if self.relative:
            return (LogHistogram(), Moments())
        return (Magnitudes(tolerance=self.tolerance),)

    def score(self, group: GroupView) -> Tensor:
        """Return the share of zeros."""
        from nodelens_metrics.distributions import share_below

        if self.relative:
            return share_below(group[LogHistogram()], self.tolerance * group[Moments()].rms)
        return group[Magnitudes(tolerance=self.tolerance)].zero_fraction


@frozen
class Kurtosis:
    """The kurtosis of the activation: 3 for a Gaussian, large for a node that rarely fires hard.

    A node that is constant, up to the rounding of fourth powers, has no shape and gets 0, below
    the 1 that is least for anything that varies.
    """

    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "E(a − μ)⁴ / Var(a)²"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Central moments up to the fourth order."""
        return (Moments(order=4),)

    def score(self, group: GroupView) -> Tensor:
        """Return the kurtosis, 0 for constant nodes."""
        from nodelens_metrics.arithmetic import ratio, varies

        shape = group[Moments(order=4)]
        assert shape.fourth is not None
        variance = shape.variance.where(varies(shape.mean, shape.variance), 0.0)
        return ratio(shape.fourth, variance.square())


@frozen
class Skewness:
    """The skewness of the activation: 0 for a symmetric one, positive for one with a tail upwards.

    0 for a node that is constant, up to the rounding of cubes.
    """

    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "E(a − μ)³ / Var(a)^3/2"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Central moments up to the fourth order."""
        return (Moments(order=4),)

    def score(self, group: GroupView) -> Tensor:
        """Return the skewness, 0 for constant nodes."""
        from nodelens_metrics.arithmetic import ratio, varies

        shape = group[Moments(order=4)]
        assert shape.third is not None
        variance = shape.variance.where(varies(shape.mean, shape.variance), 0.0)
        return ratio(shape.third, variance * variance.sqrt())


@frozen
class OutlierIndex:
    """The largest |a| over the root mean square: how far the extreme is from the ordinary.

    At least 1 for a node that is ever active; 0 for a dead node. The largest value grows with the
    amount of data, so compare nodes of one run only; it has no jackknife standard error.
    """

    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "max |a| / (E a²)^½"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"
    jackknife: ClassVar[bool] = False

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Extremes and moments of the activation."""
        return (Magnitudes(), Moments())

    def score(self, group: GroupView) -> Tensor:
        """Return peak over root mean square, 0 for dead nodes."""
        from nodelens_metrics.arithmetic import ratio

        return ratio(group[Magnitudes()].peak, group[Moments()].rms)


@frozen
class Minitron:
    """The L2 norm over rows of the mean absolute activation of a row, per row of data.

    The published score sums over rows and grows with the data; here the sum is divided by the
    number of rows, which changes no ranking. 0 for a dead node.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "activation"
    formula: ClassVar[str] = "(1/N Σ_n (mean_t |a_nt|)²)^½"
    source: ClassVar[str] = (
        "Muralidharan et al. 2024, Minitron, 2407.14679, neuron importance with mean over a row "
        "and L2 norm over rows; NVIDIA Model-Optimizer, L2NormHook"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of row means."""
        return (RowMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the root mean square over rows."""
        return group[RowMoments()].abs_mean_square.sqrt()
