"""What a node says about the output and about the label, in nats, by several estimators.

The Gaussian information about the output is exact over the data. The estimators that need ranks,
bins or neighbours read a random sample of the data's rows (`Reservoir`), a row's mean activation
each, because a label belongs to a row. All give 0 to dead and constant nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen, validators

from nodelens.interfaces.statistic import OUTPUTS
from nodelens.statistics.reservoir import Reservoir
from nodelens.statistics.targets import TargetMoments
from nodelens_metrics.information import INVARIANCES, NOISE
from nodelens_metrics.pairs import Target

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

OUTPUT_INVARIANCES = frozenset({"activation_shift", "functional", "incoming_scale"})
"""Scaling an activation and nothing else scales its part of the output as well."""

SAMPLES = 2048
"""Rows that are sampled for estimators that need them one by one."""


def labelled_rows(samples: int) -> Reservoir:
    """Return the statistic that samples rows with their labels."""
    return Reservoir(size=samples, per="row", targets=True)


@frozen
class TaskInformation:
    """What a node says about the output of the network, as two Gaussians.

    By token where the output is per token, else by row, from row means. A node that decides the
    target alone gets 6.56 nats at the default noise.

    Attributes:
        target: number about the output: margin, nll (−log p of the label) or entropy.
        correct_bias: subtract what independent samples of unrelated Gaussians give on average,
            about 1/(2N); at least 0. Tokens of one row depend on each other, so that for them it
            is too little.
        noise: relative variance of the independent noise given to node and target.
    """

    target: Target = field(default="margin", validator=validators.in_(OUTPUTS))
    correct_bias: bool = True
    noise: float = field(default=NOISE, validator=validators.ge(1e-12))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "−½ log(1 − r²/(1+noise)²) − bias, r = corr(a, target)"
    source: ClassVar[str] = "Safaai et al. 2026, 2605.07086, task information"
    invariances: ClassVar[frozenset[str]] = OUTPUT_INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Products of nodes and numbers about the output."""
        return (TargetMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information, at least 0."""
        from nodelens_metrics.estimators import gaussian_information_bias
        from nodelens_metrics.pairwise import information

        moments = group[TargetMoments()]
        rho = moments.correlation[OUTPUTS.index(self.target)]
        found = information(rho / (1.0 + self.noise))
        bias = float(gaussian_information_bias(1, 1, moments.count)) if self.correct_bias else 0.0
        return (found - bias).clamp(min=0.0) * (moments.variance > 0)


@frozen
class BinnedInformation:
    """What the binned row mean of a node says about the label, of whatever shape the relation is.

    Bins hold about equally many rows; equal values share a bin. Between 0 and the entropy of the
    labels. What bins cannot resolve is lost: the more bins, the more rows are needed.

    Attributes:
        bins: bins that the values are cut into, 2 to 255.
        correct_bias: correct for the number of cells that occur, after Miller and Madow.
        samples: rows that are sampled.
    """

    bins: int = field(default=8, validator=[validators.ge(2), validators.le(255)])
    correct_bias: bool = True
    samples: int = field(default=SAMPLES, validator=validators.ge(8))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = (
        "H(bin) + H(label) − H(bin, label) − (K_xy − K_x − K_y + 1)/2N, K the cells that occur"
    )
    source: ClassVar[str] = (
        "Miller 1955, Note on the bias of information estimates, (K − 1)/2N for each entropy"
    )
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` with rows of under two classes."""
        from nodelens_metrics.estimators import label_information

        values, labels, _ = samples_of(group, self.samples)
        return label_information(values, labels, bins=self.bins, correct=self.correct_bias)


@frozen
class CopulaInformation:
    """What the rank of a node's row mean says about the label, Gaussian within each class.

    `class_information` of normal scores: no monotone map of the activation changes it. Ties share
    their mean rank. Classes with fewer than two sampled rows are left out. Between 0 and the
    entropy of the labels.

    Attributes:
        shared_variance: one variance for all classes; False takes one by class, at least 3/4 of
            that one, so that a class in which a node is silent by chance is not a certainty.
        samples: rows that are sampled.
    """

    shared_variance: bool = True
    samples: int = field(default=SAMPLES, validator=validators.ge(8))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ log s² − Σ_c p_c ½ log s_c² − bias, of Φ⁻¹(rank/(N+1))"
    source: ClassVar[str] = (
        "Ince et al. 2017, 10.1002/hbm.23471, Gaussian copula with discrete classes, and its bias"
    )
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` with under two usable classes."""
        from nodelens_metrics.estimators import copula_label_information

        values, labels, _ = samples_of(group, self.samples)
        return copula_label_information(values, labels, shared_variance=self.shared_variance)


@frozen
class KSGInformation:
    """What a node's row mean says about the label, from the distances to nearest neighbours.

    Needs neither bins nor a Gaussian and has little bias. Ties, as of a node that is often 0, are
    parted by noise of 1e-10 standard deviations that belongs to the row. At least 0; classes with
    one sampled row are left out.

    Attributes:
        neighbours: neighbours in the own class whose distance is measured; more have less variance
            and more bias.
        samples: rows that are sampled.
    """

    neighbours: int = field(default=3, validator=validators.ge(1))
    samples: int = field(default=SAMPLES, validator=validators.ge(8))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "ψ(N) − ⟨ψ(N_class)⟩ + ψ(k) − ⟨ψ(m)⟩, m rows of any class so near"
    source: ClassVar[str] = "Ross 2014, 10.1371/journal.pone.0087357, eq. 2"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` with under two usable classes."""
        from nodelens_metrics.neighbours import ksg_label_information

        values, labels, keys = samples_of(group, self.samples)
        return ksg_label_information(values, labels, neighbours=self.neighbours, keys=keys)


def samples_of(group: GroupView, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sampled rows, ``(rows, nodes)``, and each one's label and number in the data.

    A node whose samples differ by rounding alone is made constant: exactly equal.
    """
    found = group[labelled_rows(samples)]
    assert found.targets is not None
    return settled(found.values), found.targets.long(), found.index.long()


def settled(values: Tensor) -> Tensor:
    """Return samples in which nodes that vary by rounding alone do not vary at all."""
    if not len(values):
        return values
    low, high = values.amin(0), values.amax(0)
    flat = high - low <= 2.0**-40 * low.abs().maximum(high.abs())
    return values.where(~flat, low)
