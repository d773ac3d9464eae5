"""Metrics of the distribution of a node's activation over magnitudes, from log bins.

A node's bins span the 40 powers of two up to its largest |a|, for either sign; with 64 bins one is
a factor of 1.54 wide. What lies within a bin is interpolated in log |a|, so that a quantile is off
by a bin at most; a group where a quantile lies below the bins of a node is not scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens_metrics.mathematics.intervals import LARGEST

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_SHARE = (validators.gt(0.0), validators.lt(1.0))
_BINS = (validators.ge(2), validators.le(1024))


@frozen
class ActivationQuantile:
    """Quantile of a node's |activation|: a peak value that outliers do not move.

    0 for a dead node, and for one that is zero more often than `q`.

    Attributes:
        q: the fraction of activations below the quantile, between 0 and 1.
        bins: bins of the histogram; more bins are finer and take more memory.
    """

    info = MetricInfo(
        formula="quantile of |a|; mean over components",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )

    q: float = field(default=0.99, validator=_SHARE)
    bins: int = field(default=64, validator=_BINS)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (LogHistogram(bins=self.bins),)

    def score(self, group: GroupView) -> Tensor:
        return group.average(group[LogHistogram(bins=self.bins)].magnitude_quantile(self.q))


@frozen
class SignedQuantile:
    """Quantile of a node's activations with their signs; the median by default.

    0 for a dead node.

    Attributes:
        q: the fraction of activations below the quantile, between 0 and 1.
        bins: bins of the histogram for either sign.
    """

    info = MetricInfo(
        formula="quantile of a; mean over components",
        unit="activation",
        higher_is_better=None,
        invariances=frozenset({"incoming_scale"}),
    )

    q: float = field(default=0.5, validator=_SHARE)
    bins: int = field(default=64, validator=_BINS)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (LogHistogram(bins=self.bins),)

    def score(self, group: GroupView) -> Tensor:
        return group.average(group[LogHistogram(bins=self.bins)].quantile(self.q))


@frozen
class ActivationEntropy:
    """Entropy of a node's activation over log bins of its magnitude, its sign, and zero.

    0 for a node within one bin, such as a dead node. Measures how varied the orders of magnitude
    are; the source finds such an entropy a poor sign of importance.

    Attributes:
        bins: bins of the histogram for either sign.
    """

    info = MetricInfo(
        formula="−Σ_b p_b log p_b; mean over components",
        unit="nats",
        higher_is_better=None,
        source=(
            "Liu et al. 2018, Understanding Individual Neuron Importance Using Information Theory, "
            "1804.06679, entropy of a neuron's quantised output, here in log bins"
        ),
        invariances=frozenset({"incoming_scale"}),
    )

    bins: int = field(default=64, validator=_BINS)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (LogHistogram(bins=self.bins),)

    def score(self, group: GroupView) -> Tensor:
        return group.average(group[LogHistogram(bins=self.bins)].entropy())


@frozen
class MassiveActivation:
    """Largest |activation| relative to the thresholds of a massive activation; 1 is massive.

    The smaller of max |a| over 100 and max |a| over 1000 times the median |a| of the group. The
    source takes the median of the hidden state at each token; here it is over all positions and
    nodes of the group, without zeros, since the zeros of a ReLU have no scale. Meant for a residual
    stream. 0 for a dead node. A largest value has no jackknife standard error.

    Attributes:
        magnitude: the least |a| of a massive activation.
        ratio: the least |a| in medians.
        bins: bins of the histogram that the median is read from.
        flag: give 1 for a node that is massive and 0 for any other.
    """

    info = MetricInfo(
        formula=(
            "min(max|a| / magnitude, max|a| / (ratio · median|a|)), the largest over components too"
        ),
        unit="1",
        higher_is_better=None,
        source=(
            "Sun et al. 2024, Massive Activations in Large Language Models, 2402.17762, section 2: "
            "above 100, and at least or around 1,000 times the median magnitude of its hidden state"
        ),
        invariances=frozenset({"incoming_scale"}),
        no_interval=LARGEST,
    )

    magnitude: float = field(default=100.0, validator=validators.gt(0.0))
    ratio: float = field(default=1000.0, validator=validators.gt(0.0))
    bins: int = field(default=64, validator=_BINS)
    flag: bool = option(False, beside={"magnitude": 6.0, "ratio": 1.0})

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (Magnitudes(), LogHistogram(bins=self.bins))

    def score(self, group: GroupView) -> Tensor:
        peak = group.largest(group[Magnitudes()].peak)
        found = group[LogHistogram(bins=self.bins)].together()
        median = evolve(found, zeros=found.zeros * 0.0).magnitude_quantile(0.5)
        threshold = (self.ratio * median).clamp(min=self.magnitude)
        return (peak >= threshold).double() if self.flag else peak / threshold
