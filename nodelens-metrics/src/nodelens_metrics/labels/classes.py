"""Metrics of a node's row means by class label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.classes import ClassMoments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView
    from nodelens.statistics.classes import ClassSummary


@frozen
class ClassSelectivity:
    """Class selectivity index: largest class mean against the mean of the others, 0 to 1.

    μ_max is the largest class mean, μ_rest the mean of the other class means, every class counting
    alike. Absolute values in the denominator keep the index in [0, 1] for activations that can be
    negative; for ReLU they change nothing. 0 for a dead node. Selectivity predicts the loss
    increase of ablating a node poorly (same source), hence no direction.
    """

    info = MetricInfo(
        formula="(μ_max − μ_rest) / (|μ_max| + |μ_rest|); mean over components",
        unit="1",
        higher_is_better=None,
        source="Morcos et al. 2018, 1803.06959, class selectivity index",
        invariances=frozenset({"activation_scale", "functional", "incoming_scale"}),
    )
    statistics = (ClassMoments(),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        _, means, _ = _classes(group[ClassMoments()], at_least=1)
        top = means.amax(0)
        rest = (means.sum(0) - top) / (len(means) - 1)
        return group.average(ratio((top - rest).clamp(min=0.0), top.abs() + rest.abs()))


@frozen
class FisherRatio:
    """Variance between class means over variance within classes, of row means.

    0 for dead and constant nodes. Where nothing varies within classes the ratio is limited to 2⁴⁰ ≈
    10¹², the resolution of float64 sums.
    """

    info = MetricInfo(
        formula="Σ_c n_c (μ_c − μ)² / Σ_c n_c σ_c², both added over components",
        unit="1",
        higher_is_better=True,
        source="Fisher 1936, linear discriminant; common",
        dead_nodes="lowest",
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
    )
    statistics = (ClassMoments(),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import RESOLUTION, ratio, varies

        count, means, variances = _classes(group[ClassMoments()], at_least=1)
        fraction = (count / count.sum()).unsqueeze(1)
        total = _total_variance(fraction, means, variances)
        within = (fraction * variances).sum(0)
        live = varies((fraction * means).sum(0), total)
        between = (total - within).clamp(min=0.0).masked_fill(~live, 0.0)
        between, within, total = (group.total(each) for each in (between, within, total))
        return ratio(between, within.maximum(RESOLUTION * total))


FLOOR = 0.75
"""The least variance of a class, as a fraction of the mean variance within classes."""


@frozen
class ClassInformation:
    """Mutual information of a node's row mean and the label, Gaussian within each class.

    The entropy of the mixture is bounded by that of a Gaussian of the same variance. All variances
    divide by n − 1, and the bias of their logarithms is subtracted. Classes with fewer than two
    rows are left out. Between 0 and the entropy of the labels; 0 for dead and constant nodes.

    A node that fires on few rows, at random, is silent in some classes by chance. Their variance
    would be near 0, the class nearly certain, and the score near the entropy of the labels. So the
    variance is either one for all classes or, by class, at least 3/4 of this pooled variance, which
    bounds the gain from unequal variances by ½ log 4/3 = 0.14 nats.

    Attributes:
        shared_variance: one variance for all classes; False takes one by class, with the floor.
    """

    info = MetricInfo(
        formula=(
            "½ log s² − ½ log s_w² − bias, within [0, H(label)], s_w² within classes; by class: "
            "½ log s² − Σ_c p_c ½ log max(s_c², ¾ s_w²) − bias; mean over components"
        ),
        unit="nats",
        higher_is_better=True,
        source=(
            "Ince et al. 2017, 10.1002/hbm.23471, Gaussian model with discrete classes and its "
            "bias "
            "correction"
        ),
        dead_nodes="lowest",
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
    )
    statistics = (ClassMoments(),)

    shared_variance: bool = True

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import RESOLUTION, varies

        count, means, variances = _classes(group[ClassMoments()], at_least=2)
        rows = count.sum()
        fraction = (count / rows).unsqueeze(1)
        total = _total_variance(fraction, means, variances)
        live = varies((fraction * means).sum(0), total)
        scale = total.masked_fill(~live, 1.0)
        dof = rows - len(count)
        pooled = (fraction * variances).sum(0).maximum(RESOLUTION * scale) * rows / dof
        if self.shared_variance:
            conditional = _log_std(pooled, dof)
        else:
            dof = (count - 1).unsqueeze(1)
            within = (variances * (dof + 1) / dof).maximum(FLOOR * pooled)
            conditional = (fraction * _log_std(within, dof)).sum(0)
        information = _log_std(scale * rows / (rows - 1), rows - 1) - conditional
        entropy = float(-(fraction * fraction.log()).sum())
        return group.average(information.clamp(0.0, entropy).masked_fill(~live, 0.0))


def bias(dof: Tensor) -> Tensor:
    """Return the bias of ½ log s², s² the variance of a Gaussian sample with `dof` degrees."""
    return 0.5 * ((2.0 / dof).log() + (dof / 2.0).digamma())


def _log_std(variance: Tensor, dof: Tensor) -> Tensor:
    """Return ½ log s² minus its bias."""
    return 0.5 * variance.log() - bias(dof)


def _total_variance(fraction: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Return the population variance of the mixture, ``(nodes,)``."""
    centre = (fraction * means).sum(0)
    return (fraction * (variances + (means - centre).square())).sum(0)


def _classes(summary: ClassSummary, at_least: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean and variance of the classes with `at_least` rows; at least two of them."""
    enough = summary.count >= at_least
    if int(enough.sum()) < 2:
        raise NotApplicableError(
            f"fewer than two classes have {at_least} or more calibration rows; calibrate on more"
        )
    return summary.count[enough], summary.mean[enough], summary.variance[enough]
