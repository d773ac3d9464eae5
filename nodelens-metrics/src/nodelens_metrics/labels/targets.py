"""Information of a node about the output and about the label, in nats.

The Gaussian information about the output is exact over the data. The estimators that need ranks,
bins or neighbours read a random sample of the data's rows (`Reservoir`), a row's mean activation
each, because a label belongs to a row. All give 0 to dead and constant nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.interfaces.statistic import OUTPUTS
from nodelens.statistics.targets import TargetMoments
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import NEAR_ZERO, UNMEASURED
from nodelens_metrics.mathematics.labelled_rows import (
    OUTPUT_INVARIANCES,
    Target,
    labelled_rows,
    samples_of,
)
from nodelens_metrics.mathematics.second_moments import INVARIANCES

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


@frozen
class TaskInformation:
    """Gaussian mutual information of a node and the output of the network.

    By token where the output is per token, else by row, from row means. A node that determines the
    target alone gets 6.56 nats at the default noise.

    Attributes:
        correct_bias: subtract the mean estimate from independent samples of unrelated Gaussians,
            about 1/(2N); at least 0. Tokens of one row depend on each other, so that for tokens the
            correction is too small.
    """

    info = MetricInfo(
        formula=(
            "−½ log(1 − r²/(1+noise)²) − bias, r = corr(a, target); of components: r the multiple "
            "correlation"
        ),
        unit="nats",
        higher_is_better=True,
        source="Safaai et al. 2026, 2605.07086, task information",
        dead_nodes="lowest",
        invariances=OUTPUT_INVARIANCES,
        no_interval=NEAR_ZERO,
    )
    statistics = (TargetMoments(),)

    target: Target = options.target()
    correct_bias: bool = options.correct_bias(True)
    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.canonical import vector_information
        from nodelens_metrics.mathematics.estimators import gaussian_information_bias
        from nodelens_metrics.mathematics.pairwise import information

        moments, components = group[TargetMoments()], group.components
        rho = moments.correlation[OUTPUTS.index(self.target)]
        if components == 1:
            found = information(rho / (1.0 + self.noise))
        else:
            found = vector_information(rho, moments.within, self.noise)
        bias = 0.0
        if self.correct_bias:
            bias = float(gaussian_information_bias(components, 1, moments.count))
        return (found - bias).clamp(min=0.0) * (group.largest(moments.variance) > 0)


@frozen
class BinnedInformation:
    """Mutual information of a node's binned row mean and the label, for any relation.

    Bins hold about equally many rows; equal values share a bin. Between 0 and the entropy of the
    labels. Relations finer than a bin are lost, and more bins need more rows.

    Attributes:
        bins: number of bins, 2 to 255.
        correct_bias: correct for the number of cells that occur, after Miller and Madow.
    """

    info = MetricInfo(
        formula=(
            "H(bin) + H(label) − H(bin, label) − (K_xy − K_x − K_y + 1)/2N, K the cells that "
            "occur; mean over components"
        ),
        unit="nats",
        higher_is_better=True,
        source=(
            "Miller 1955, Note on the bias of information estimates, (K − 1)/2N for each entropy"
        ),
        dead_nodes="lowest",
        invariances=INVARIANCES,
        no_interval=UNMEASURED,
    )

    bins: int = field(default=8, validator=[validators.ge(2), validators.le(255)])
    correct_bias: bool = options.correct_bias(True)
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.estimators import label_information

        values, labels, _ = samples_of(group, self.samples)
        found = label_information(values, labels, bins=self.bins, correct=self.correct_bias)
        return group.average(found)


@frozen
class CopulaInformation:
    """Gaussian-copula mutual information of a node's row mean and the label.

    `class_information` of normal scores: invariant under monotone maps of the activation. Ties get
    their mean rank. Classes with fewer than two sampled rows are left out. Between 0 and the
    entropy of the labels.

    Attributes:
        shared_variance: one variance for all classes; False takes one by class, at least 3/4 of the
            pooled one, so that a class in which a node is silent by chance is not certain.
    """

    info = MetricInfo(
        formula=("½ log s² − Σ_c p_c ½ log s_c² − bias, of Φ⁻¹(rank/(N+1)); mean over components"),
        unit="nats",
        higher_is_better=True,
        source=(
            "Ince et al. 2017, 10.1002/hbm.23471, Gaussian copula with discrete classes, and its "
            "bias"
        ),
        dead_nodes="lowest",
        invariances=INVARIANCES,
        no_interval=UNMEASURED,
    )

    shared_variance: bool = True
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.estimators import copula_label_information

        values, labels, _ = samples_of(group, self.samples)
        found = copula_label_information(values, labels, shared_variance=self.shared_variance)
        return group.average(found)


@frozen
class KSGInformation:
    """Mutual information of a node's row mean and the label, by nearest neighbours (KSG).

    Needs neither bins nor a Gaussian and has little bias. Ties, as of a node that is often 0, are
    broken by noise of 1e-10 standard deviations, fixed by the row. At least 0; classes with one
    sampled row are left out.

    Attributes:
        neighbours: neighbours in the own class whose distance is measured; more have less variance
            and more bias.
    """

    info = MetricInfo(
        formula=(
            "ψ(N) − ⟨ψ(N_class)⟩ + ψ(k) − ⟨ψ(m)⟩, m rows of any class so near; mean over components"
        ),
        unit="nats",
        higher_is_better=True,
        source="Ross 2014, 10.1371/journal.pone.0087357, eq. 2",
        dead_nodes="lowest",
        invariances=INVARIANCES,
        no_interval=UNMEASURED,
    )

    neighbours: int = field(default=3, validator=validators.ge(1))
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.neighbours import ksg_label_information

        values, labels, keys = samples_of(group, self.samples)
        found = ksg_label_information(values, labels, neighbours=self.neighbours, keys=keys)
        return group.average(found)
