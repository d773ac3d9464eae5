"""Metrics of how a node's writing is spread over the weights that read the node.

p_o = |W_oi| / Σ_o |W_oi| is the fraction of one connection, over all readers together. Every weight
of a convolution's kernel, and of a node of several features, counts. Only the shape counts, not the
size. A node without outgoing weights has no shape and gets 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.renamed_arguments import renamed_arguments
from nodelens.weights.row_sums import RowSums

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

_SIZES, _SQUARES, _LOGARITHMS = RowSums("abs"), RowSums("square"), RowSums("entropy")
_SHAPE = frozenset({"activation_scale", "activation_shift", "functional", "incoming_scale"})
_STUDY = (
    "Stahlberg & Kumar 2025, The Role of Outgoing Connection Heterogeneity in Feedforward Layers "
    "of Large Language Models, EMNLP 2025"
)


@frozen
class OutgoingEntropy:
    """Entropy of a node's outgoing connection strengths; low for few strong connections.

    Log of the number of connections at most. The source finds that neurons with diverse connection
    strengths matter more than those with uniform ones, and prunes by the entropy.

    Attributes:
        normalise: divide by the log of the number of connections, for a value in [0, 1].
    """

    info = MetricInfo(
        formula="−Σ_o p_o log p_o",
        unit="nats",
        higher_is_better=False,
        source=f"{_STUDY}; fractions by the L1 norm, not verified against its text",
        invariances=_SHAPE,
    )
    statistics = ()
    weights = (_SIZES, _LOGARITHMS)

    normalise: bool = False

    def score(self, group: GroupView) -> Tensor:
        from math import log

        from nodelens_metrics.mathematics.arithmetic import ratio

        sums, connections = group[_SIZES].total, group[_SIZES].count
        entropy = sums.log() - ratio(group[_LOGARITHMS].total, sums)
        entropy = entropy.masked_fill(sums == 0, 0.0).clamp(min=0.0)
        return entropy / log(connections) if self.normalise and connections > 1 else entropy


@frozen
class WriteConcentration:
    """Herfindahl index of a node's outgoing connection strengths.

    1 for a node with one connection, one over the number of connections for equal strengths: the
    inverse of the effective number of connections.
    """

    info = MetricInfo(
        formula="Σ_o p_o²",
        unit="1",
        higher_is_better=True,
        source=f"Herfindahl index; direction from {_STUDY}",
        invariances=_SHAPE,
    )
    statistics = ()
    weights = (_SIZES, _SQUARES)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        return ratio(group[_SQUARES].total, group[_SIZES].total.square())


@renamed_arguments(share="fraction")
@frozen
class WriteOverlap:
    """Fraction of a node's outgoing strength on the outputs that the whole group writes most.

    The outputs are those with the largest Σ_i p_oi, where all connections of a node with one output
    count together. A node counts by its fractions, so that one large node does not decide alone.
    Weights only; `core_connection` has the version around a core of nodes by loss proxy.

    Attributes:
        fraction: fraction of the outputs that count, at least one output.
    """

    info = MetricInfo(
        formula="Σ_o∈S p_oi, S the outputs with the largest Σ_i p_oi",
        unit="1",
        higher_is_better=None,
        source=(
            "Cherilyn & Safaai 2026, 2604.23475, write overlap, with all nodes in place of the core"
        ),
        invariances=_SHAPE,
    )
    statistics = ()

    fraction: float = field(default=0.1, validator=(validators.gt(0.0), validators.lt(1.0)))

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio
        from nodelens_metrics.mathematics.connections import output_strengths

        strength = output_strengths(group)
        fractions = ratio(strength, strength.sum(1, keepdim=True))
        count = max(1, round(self.fraction * fractions.shape[1]))
        return fractions[:, fractions.sum(0).topk(count).indices].sum(1)
