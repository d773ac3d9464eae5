"""How a node spreads what it writes over the weights that read it.

p_o = |W_oi| / Σ_o |W_oi| is the share of one connection, of all readers together; a kernel of a
convolution, and a node of several features, count each of their weights. Only the shape counts, not
the size. A node without outgoing weights has no shape and gets 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

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
        source=f"{_STUDY}; shares by the L1 norm, not verified against its text",
        invariances=_SHAPE,
    )
    statistics = ()

    normalise: bool = False

    def score(self, group: GroupView) -> Tensor:
        from math import log

        import torch

        shares = outgoing_shares(group)
        entropy: Tensor = torch.special.entr(shares).sum(1)
        connections = shares.shape[1]
        return entropy / log(connections) if self.normalise and connections > 1 else entropy


@frozen
class WriteConcentration:
    """Chance that two draws by connection strength pick one connection.

    1 for a node that writes one thing, one over the number of connections for one that writes all
    alike: the inverse of the effective number of connections.
    """

    info = MetricInfo(
        formula="Σ_o p_o²",
        unit="1",
        higher_is_better=True,
        source=f"Herfindahl index; direction from {_STUDY}",
        invariances=_SHAPE,
    )
    statistics = ()

    def score(self, group: GroupView) -> Tensor:
        return outgoing_shares(group).square().sum(1)


@frozen
class WriteOverlap:
    """Share of a node's outgoing strength that goes where its whole group writes most.

    Those are the outputs with the largest Σ_i p_oi, where all connections of a node with one output
    count together: a node counts by its shares, so that one large node does not decide alone.
    Weights only; the version around a core of nodes that the loss finds
    important is in the family of supernodes.

    Attributes:
        share: how many of the outputs count, as a share of all; at least one does.
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

    share: float = field(default=0.1, validator=(validators.gt(0.0), validators.lt(1.0)))

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio
        from nodelens_metrics.mathematics.connections import output_strengths

        strength = output_strengths(group)
        shares = ratio(strength, strength.sum(1, keepdim=True))
        count = max(1, round(self.share * shares.shape[1]))
        return shares[:, shares.sum(0).topk(count).indices].sum(1)


def outgoing_shares(group: GroupView) -> Tensor:
    """Return p, ``(nodes, connections)``; zeros for a node without outgoing weights."""
    from nodelens_metrics.mathematics.arithmetic import ratio

    strength = group.outgoing().abs()
    return ratio(strength, strength.sum(1, keepdim=True))
