"""Metrics from the Kronecker-factored Fisher matrix of the weights that write a node.

For y = Wx + b and g = dL/dy, K-FAC takes the Fisher matrix of the weights as T·A ⊗ S with A =
E[xxᵀ] and S = E[ggᵀ], means over positions, and T the positions of a row, which count as
independent (Grosse & Martens 2016, 1602.01407, for convolutions). Both scores depend on A only by
WAWᵀ = E[yyᵀ], the second moment of the pre-activations. This includes the bias (x with a 1
appended) and is as cheap for a convolution as for a linear layer. The scores apply wherever one
weight writes each node.

The labels of a Fisher matrix are drawn from the model, as in the source. 0 for a node that is
always off before the nonlinearity's kink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.gradients import GradientMoments, Labels
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments
from nodelens_metrics.curvature.kronecker import GradientGram, RowLength

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_WRITTEN = Gram(reads="preactivation")
_INVARIANCES = frozenset({"activation_shift", "functional"})
_LABELS = validators.in_(("model", "data"))
_PAPER = "Wang et al. 2019, EigenDamage, 1905.05934"


@frozen
class KFAC:
    """Loss change of removing the weights that write a node, from the K-FAC Fisher matrix.

    The repair ``weights`` updates the other nodes' weights, as far as the gradients of the nodes
    are correlated.

    Attributes:
        repair: ``none`` for the change without a repair, ``weights`` for the change after an update
            of the other rows of the weight.
        damping: added to the diagonal of S before it is inverted, relative to its mean; 0 raises
            `NotApplicableError` where S is singular.
        labels: ``model`` for the Fisher matrix, ``data`` for the empirical one.
    """

    info = MetricInfo(
        formula="½ T S_ii wAwᵀ = ½ T E[g²] E[y²]; repaired: ½ T wAwᵀ / (S⁻¹)_ii",
        unit="loss",
        higher_is_better=True,
        source=(
            f"{_PAPER}, Kron-OBD and Kron-OBS (Alg. 1): ½ S_ii θᵀAθ and ½ θᵀAθ / [S⁻¹]_ii. Their "
            "code takes Σ(w²A) for wAwᵀ and leaves the ½ out. The equations were read in a summary "
            "of the paper, the paper was not at hand"
        ),
        dead_nodes="lowest",
        invariances=_INVARIANCES,
        heavy_tails=True,
    )

    repair: Literal["none", "weights"] = field(
        default="none", validator=validators.in_(("none", "weights"))
    )
    damping: float = option(0.01, validators.ge(0.0), beside={"repair": "weights"})
    labels: Labels = option("model", _LABELS, beside=[{}, {"repair": "weights"}])

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (Moments(reads="preactivation"), self._gradients, RowLength())

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import unexplained

        group.producer()
        found = group[self._gradients]
        if self.repair == "none":
            size = found.g2
        else:
            size = unexplained(found.second_moment, self.damping)
        energy = group[Moments(reads="preactivation")].mean_square
        scores: Tensor = 0.5 * group[RowLength()] * size * energy
        return scores

    @property
    def _gradients(self) -> Any:
        if self.repair == "none":
            return GradientMoments(reads="preactivation", labels=self.labels, centred=False)
        return _products(self.labels)


@frozen
class EigenDamageShare:
    """EigenDamage scores of a layer's Fisher eigenvectors, divided among the nodes.

    EigenDamage prunes directions, not nodes: it turns the weights into the eigenbasis of A ⊗ S, W'
    = QᵀWP, and scores row k of W' by ½ Σ_j λ_k λ_j w'_kj². Here each direction's score is divided
    among the nodes by their squared loadings Q_ik², which sum to one: a node is worth keeping if it
    loads on directions that matter. The scores of a layer's nodes sum to the scores of all its
    directions.

    Attributes:
        labels: ``model`` for the Fisher matrix, ``data`` for the empirical one.
    """

    info = MetricInfo(
        name="eigendamage_share",
        formula="½ T Σ_k Q_ik² λ_k q_kᵀ E[yyᵀ] q_k, S = QΛQᵀ",
        unit="loss",
        higher_is_better=True,
        source=(
            f"{_PAPER}, importance in the Kronecker-factored eigenbasis, as in its code; the "
            "division among nodes is not theirs"
        ),
        dead_nodes="lowest",
        invariances=_INVARIANCES,
    )

    labels: Labels = field(default="model", validator=_LABELS)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (_WRITTEN, _products(self.labels), RowLength())

    def score(self, group: GroupView) -> Tensor:
        import torch

        group.producer()
        moment = group[_products(self.labels)].second_moment
        values, vectors = torch.linalg.eigh(moment)
        energy = ((group[_WRITTEN].second_moment @ vectors) * vectors).sum(0)
        scores = 0.5 * group[RowLength()] * values.clamp(min=0.0) * energy.clamp(min=0.0)
        sums: Tensor = vectors.square() @ scores
        return sums.masked_fill(moment.diagonal() == 0, 0.0)


def _products(labels: Labels) -> Any:
    """Return the products of gradients, for the data's labels from a shared statistic."""
    return GradientGram() if labels == "model" else Gram(reads="preactivation", of="gradient")
