"""The weights of a group as one matrix, for metrics that compare the rows of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.weights.row_sums import check_components

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Role
    from nodelens.scoring.group_weights import GroupWeights
    from nodelens.scoring.producers import Producer


@frozen(eq=False)
class RowValues:
    """All entries of the weights of a group, ``(nodes, rows, entries)`` float64 for each slice.

    A node has one row for each index that it owns, such as the dimensions of a head. `runs` is the
    number of runs of these rows, for each slice, whose entries belong to different outputs.
    """

    by_slice: tuple[Tensor, ...]
    runs: tuple[int, ...]

    @property
    def matrix(self) -> Tensor:
        """All entries of each node beside each other, ``(nodes, all)``."""
        import torch

        return torch.cat([each.flatten(1) for each in self.by_slice], dim=1)

    def of_components(self, components: int) -> Tensor:
        """Return the entries of each component, ``(nodes, components, all)``.

        Raises `NotApplicableError` where the rows of some weight are not the components of a node.
        """
        import torch

        if components == 1:
            return self.matrix.unsqueeze(1)
        for each in self.by_slice:
            check_components(each.shape[1], components)
        return torch.cat(self.by_slice, dim=2)

    def read_together(self, components: int) -> Tensor:
        """Return which components of a node one output reads, ``(components, components)`` of bool.

        Those of two experts of a stack, or of two groups of a convolution, have outputs of their
        own. Raises `NotApplicableError` where weights differ in this.
        """
        import torch

        if len(set(self.runs)) > 1:
            raise NotApplicableError("some weights read the components of a node apart, others not")
        run = torch.arange(components, device=self.by_slice[0].device) * self.runs[0] // components
        return run.unsqueeze(1) == run


@frozen
class Rows:
    """All weights that write the nodes, or read them, at once.

    For pairs of nodes; a metric of single nodes reads sums instead, such as `RowSums`.

    Attributes:
        role: ``producer`` for the weights that write the nodes, ``consumer`` for those that read
            them.
    """

    role: Role = field(validator=validators.in_(("producer", "consumer")))

    def reduce(self, weights: GroupWeights) -> RowValues:
        parts = weights.parts(self.role)
        rows = tuple(weights.rows_of(part) for part in parts)
        return RowValues(rows, tuple(weights.runs_of(part) for part in parts))


@frozen
class WrittenRows:
    """The rows of the one weight that writes the nodes, for products with their input's statistics.

    Attributes:
        producer: the path of a module or the last parts of it, such as ``up_proj``, where several
            weights write the nodes.
    """

    producer: str | None = None

    def reduce(self, weights: GroupWeights) -> Producer:
        return weights.written_by(self.producer)
