"""The Kronecker-factored Fisher matrix of the weights that write a node.

For y = Wx + b and g = dL/dy, K-FAC takes the Fisher matrix of the weights as A ⊗ G with A = E[xxᵀ]
and G = E[ggᵀ], means over positions. Both scores see A only through WAWᵀ = E[yyᵀ], the second
moment of the pre-activations, which holds the bias too (x with a 1 appended) and costs as much for
a convolution as for a linear layer. So they apply wherever pre-activations are read.

Values are per position: times the positions of a row they are the loss of a row, if positions are
taken as independent, as in the convolutional K-FAC (Grosse & Martens 2016, 1602.01407).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic

_WRITTEN = Gram(tap="preactivation")
_GRADIENTS = Gram(tap="preactivation", of="gradient")
_INVARIANCES = frozenset({"activation_shift", "functional"})


@frozen
class KFAC:
    """The loss change of removing the weights that write a node, with the K-FAC Fisher matrix.

    ``weights`` lets the other nodes' weights make up for the loss, as far as the gradients of the
    nodes are correlated. The published code sums the wrong way, Σ (w²A) in place of wAwᵀ; this is
    the formula. 0 for a node that is always off before the nonlinearity's kink.

    Attributes:
        repair: ``none`` for the change as it is, ``weights`` for that after the other rows of the
            weight have been updated.
        damping: added to the diagonal of G before it is inverted, relative to its mean; 0 raises
            `NotApplicableError` where G is singular.
    """

    repair: Literal["none", "weights"] = field(
        default="none", validator=validators.in_(("none", "weights"))
    )
    damping: float = field(default=0.01, validator=validators.ge(0.0))
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ G_ii wAwᵀ = ½ E[g²] E[y²]; repaired: ½ wAwᵀ / (G⁻¹)_ii"
    source: ClassVar[str] = (
        "Wang et al. 2019, EigenDamage, 1905.05934, the baselines Kron-OBD and Kron-OBS; their "
        "code was read, the equations were not at hand"
    )
    invariances: ClassVar[frozenset[str]] = _INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of pre-activations, and of their gradients."""
        return (Moments(tap="preactivation"), _GRADIENTS)

    def score(self, group: GroupView) -> Tensor:
        """Return the changes; raises `NotApplicableError` where several weights write the nodes."""
        from nodelens_metrics.arithmetic import unexplained

        group.producer()
        moment = group[_GRADIENTS].second_moment
        size = moment.diagonal() if self.repair == "none" else unexplained(moment, self.damping)
        return 0.5 * size * group[Moments(tap="preactivation")].mean_square


@frozen
class EigenDamage:
    """A node's share of the loss that the directions of its layer's Fisher matrix carry.

    EigenDamage prunes directions, not nodes: it turns the weights into the eigenbasis of A ⊗ G,
    W' = QᵀWP, and scores row k of W' by ½ Σ_j λ_k λ_j w'_kj². Here each direction's score is
    divided among the nodes by their squared loadings Q_ik², which sum to one: a node is worth
    keeping if it takes part in directions that matter. The scores of a layer sum to that of all its
    directions.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ Σ_k Q_ik² λ_k q_kᵀ E[yyᵀ] q_k, G = QΛQᵀ"
    source: ClassVar[str] = (
        "Wang et al. 2019, EigenDamage, 1905.05934, importance in the Kronecker-factored "
        "eigenbasis, as in its code; the division among nodes is not theirs"
    )
    invariances: ClassVar[frozenset[str]] = _INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Second moments of pre-activations and of their gradients."""
        return (_WRITTEN, _GRADIENTS)

    def score(self, group: GroupView) -> Tensor:
        """Return the shares; raises `NotApplicableError` where several weights write the nodes."""
        import torch

        group.producer()
        moment = group[_GRADIENTS].second_moment
        values, vectors = torch.linalg.eigh(moment)
        energy = ((group[_WRITTEN].second_moment @ vectors) * vectors).sum(0)
        scores = 0.5 * values.clamp(min=0.0) * energy.clamp(min=0.0)
        shares: Tensor = vectors.square() @ scores
        return shares.masked_fill(moment.diagonal() == 0, 0.0)
