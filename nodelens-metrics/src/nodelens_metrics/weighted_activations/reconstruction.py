"""Error of the next layer after the removal of one node, with and without a repair.

Exact for a linear consumer and one node: the squared error of its output, mean over positions and
summed over outputs. A node of several components is removed with all of them; those that different
outputs read (of two experts, or two groups of a convolution) have no common term. A consumer that
reads a node several times (the kernel positions of a convolution, the positions of a flattened map)
counts as if these were independent. The score is for one repair: a node that its peers can predict
has a small error only if pruning repairs their weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gram import Gram
from nodelens.weights.row_sums import RowSums
from nodelens.weights.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

_SQUARES = RowSums("square")
WeightRepair = Literal["none", "mean_bias", "weights", "weights_and_bias"]
_REPAIRS = ("none", "mean_bias", "weights", "weights_and_bias")


@frozen
class ReconstructionError:
    """Output error of the next layer without the node, after the repair.

    ``none`` is the square of Wanda's column score, ``mean_bias`` is FLAP's WIFV, ``weights`` the
    optimal brain surgeon's channel score, ``weights_and_bias`` the variance that the peers do not
    explain. A dead node gets 0, and so does a constant one if the bias is repaired; the damping
    alone keeps an exact duplicate from 0 in the last two.

    Attributes:
        repair: the repair after removal: none, the bias by the node's mean, the weights of the
            other nodes, or both.
        damping: added to the diagonal of the second moments before they are inverted, relative to
            its mean; 0 raises `NotApplicableError` where they are singular. The first two repairs
            invert nothing.
    """

    info = MetricInfo(
        formula=(
            "tr W_i M_ii W_iᵀ, M = E[aaᵀ]; mean_bias: M = Cov(a); weights: tr W_i ((M⁻¹)_ii)⁻¹ "
            "W_iᵀ, M = E[aaᵀ] + λI; weights_and_bias: M = Cov(a) + λI; over the components of i"
        ),
        unit="weight² · activation²",
        higher_is_better=True,
        source=(
            "optimal brain surgeon, Hassibi & Stork 1993, for whole channels: Kurtić et al. 2023, "
            "ZipLM, 2302.04089; Ling et al. 2024, SlimGPT, 2412.18110; damping of 1 % as in "
            "SparseGPT, "
            "2301.00774; their equations were not at hand, the values are tested by brute force"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        heavy_tails=True,
    )

    statistics = (Gram(),)
    weights = (_SQUARES, Rows("consumer"))

    repair: WeightRepair = field(default="weights_and_bias", validator=validators.in_(_REPAIRS))
    damping: float = field(default=0.01, validator=validators.ge(0.0))

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import unexplained

        gram = group[Gram()]
        moment = gram.covariance if self.repair.endswith("bias") else gram.second_moment
        repairs = self.repair.startswith("weights")
        if group.components == 1:
            left = unexplained(moment, self.damping) if repairs else moment.diagonal()
            return group[_SQUARES].total * left
        return self._of_vectors(group, moment, repairs)

    def _of_vectors(self, group: GroupView, moment: Tensor, repairs: bool) -> Tensor:
        """Return the errors of nodes of several components."""
        from nodelens_metrics.mathematics.arithmetic import diagonal_blocks, unexplained_blocks

        count, rows = group.components, group[Rows("consumer")]
        weights, together = rows.of_components(count), rows.read_together(count)
        moment = moment * together.repeat(group.width, group.width)
        if repairs:
            blocks = unexplained_blocks(moment, self.damping, count)
        else:
            blocks = diagonal_blocks(moment, count)
        errors: Tensor = (weights @ weights.mT * blocks).sum((1, 2))
        return errors
