"""Norms of the weights that write a node, that read a node, or both, without biases.

Several weights in one role (gate and up projection, two readers) count as one long row. A weight
that writes and reads the nodes (a tied embedding) counts once in the norms of the whole group. A
dead ReLU is not noticed: its weights need not be small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.weights.row_sums import RowSums

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Role
    from nodelens.scoring.view import GroupView
    from nodelens.weights.row_sums import Of

_INCOMING = frozenset({"activation_scale", "activation_shift", "functional"})
_OUTGOING = frozenset({"activation_scale", "activation_shift", "incoming_scale"})
_GROUP = frozenset({"activation_scale", "activation_shift"})
_FILTERS = "Li et al. 2017, Pruning Filters for Efficient ConvNets, 1608.08710"


@frozen
class WeightL1:
    """L1 norm of the weights that write a node."""

    info = MetricInfo(
        formula="Σ_j |w_ij|",
        unit="weight",
        higher_is_better=True,
        source=_FILTERS,
        invariances=_INCOMING,
    )
    statistics = ()
    weights = (RowSums("abs", "producer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("abs", "producer")].total


@frozen
class WeightL2:
    """L2 norm of the weights that write a node."""

    info = MetricInfo(
        formula="(Σ_j w_ij²)^½",
        unit="weight",
        higher_is_better=True,
        source=f"{_FILTERS}, which compares it with the L1 norm",
        invariances=_INCOMING,
    )
    statistics = ()
    weights = (RowSums("square", "producer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("square", "producer")].total.sqrt()


@frozen
class WeightLinf:
    """Largest absolute weight that writes a node."""

    info = MetricInfo(
        formula="max_j |w_ij|",
        unit="weight",
        higher_is_better=True,
        invariances=_INCOMING,
    )
    statistics = ()
    weights = (RowSums("largest", "producer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("largest", "producer")].total


@frozen
class OutgoingL1:
    """L1 norm of the weights that read a node."""

    info = MetricInfo(
        formula="Σ_o |W_oi|",
        unit="weight",
        higher_is_better=True,
        invariances=_OUTGOING,
    )
    statistics = ()
    weights = (RowSums("abs", "consumer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("abs", "consumer")].total


@frozen
class OutgoingL2:
    """L2 norm of the weights that read a node.

    The product with an activation norm bounds the node's contribution to the next layer. Alone the
    norm depends on the scale of the activation.
    """

    info = MetricInfo(
        formula="(Σ_o W_oi²)^½",
        unit="weight",
        higher_is_better=True,
        source="common; the magnitude baseline of FLAP's repository, 2312.11983",
        invariances=_OUTGOING,
    )
    statistics = ()
    weights = (RowSums("square", "consumer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("square", "consumer")].total.sqrt()


@frozen
class OutgoingLinf:
    """Largest absolute weight that reads a node."""

    info = MetricInfo(
        formula="max_o |W_oi|",
        unit="weight",
        higher_is_better=True,
        invariances=_OUTGOING,
    )
    statistics = ()
    weights = (RowSums("largest", "consumer"),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowSums("largest", "consumer")].total


@frozen
class GroupL1:
    """L1 norm of all weights that write or read a node."""

    info = MetricInfo(
        formula="Σ_j |w_ij| + Σ_o |W_oi|",
        unit="weight",
        higher_is_better=True,
        invariances=_GROUP,
    )
    statistics = ()
    weights = (RowSums("abs", "either"),)

    def score(self, group: GroupView) -> Tensor:
        return _whole(group, "abs")


@frozen
class GroupL2:
    """L2 norm of all weights that write or read a node."""

    info = MetricInfo(
        formula="(Σ_j w_ij² + Σ_o W_oi²)^½",
        unit="weight",
        higher_is_better=True,
        invariances=_GROUP,
    )
    statistics = ()
    weights = (RowSums("square", "either"),)

    def score(self, group: GroupView) -> Tensor:
        return _whole(group, "square").sqrt()


@frozen
class GroupLinf:
    """Largest absolute weight that writes or reads a node."""

    info = MetricInfo(
        formula="max(max_j |w_ij|, max_o |W_oi|)",
        unit="weight",
        higher_is_better=True,
        invariances=_GROUP,
    )
    statistics = ()
    weights = (RowSums("largest", "either"),)

    def score(self, group: GroupView) -> Tensor:
        return _whole(group, "largest")


def _whole(group: GroupView, of: Of) -> Tensor:
    """Return a sum over the weights that write or read each node, ``(nodes,)``, tied ones once."""
    ends: tuple[tuple[Role, str], ...] = (("producer", "writes"), ("consumer", "reads"))
    for role, verb in ends:
        if not group.group.weights(role):
            raise NotApplicableError(f"no parameter {verb} these nodes")
    return group[RowSums(of, "either")].total
