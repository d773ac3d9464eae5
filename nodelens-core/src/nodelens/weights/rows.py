"""The weights of a group as one matrix, for metrics that compare the rows of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Role
    from nodelens.scoring.group_weights import GroupWeights
    from nodelens.scoring.producers import Producer


@frozen
class Rows:
    """All weights that write the nodes, or read them, ``(nodes, entries)`` float64.

    For pairs of nodes; a metric of single nodes reads sums instead, such as `RowSums`.

    Attributes:
        role: ``producer`` for the weights that write the nodes, ``consumer`` for those that read
            them.
    """

    role: Role = field(validator=validators.in_(("producer", "consumer")))
    whole: ClassVar[bool] = True

    def reduce(self, weights: GroupWeights) -> Tensor:
        return weights.rows(self.role)


@frozen
class WrittenRows:
    """The rows of the one weight that writes the nodes, for products with their input's statistics.

    Attributes:
        producer: the path of a module or the last parts of it, such as ``up_proj``, where several
            weights write the nodes.
    """

    producer: str | None = None
    whole: ClassVar[bool] = True

    def reduce(self, weights: GroupWeights) -> Producer:
        return weights.written_by(self.producer)
