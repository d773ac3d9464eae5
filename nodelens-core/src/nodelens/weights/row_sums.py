"""Sums over the rows of weights: norms, and what entropies are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Extent, ParameterSlice
    from nodelens.scoring.group_weights import GroupWeights

    Place = tuple[str, int, Extent]
    """A slice without its role: the weight, the axis, and who owns the indices."""

Of = Literal["abs", "square", "largest", "entropy"]
Where = Literal["producer", "consumer", "carrier", "either"]


def check_components(rows: int, components: int) -> None:
    """Raise `NotApplicableError` unless the rows of a weight are the components of a node."""
    if rows != components:
        raise NotApplicableError(
            f"a weight holds {rows} numbers of a node, which has {components} components"
        )


@frozen(eq=False)
class RowTotals:
    """A sum, or the largest value, over each row of each weight of a group.

    `rows` holds ``(nodes, rows)`` float64 by slice, one row for each index that a node owns, such
    as the dimensions of a head; `entries` is how many entries a row of each slice has.
    """

    rows: Mapping[Place, Tensor]
    entries: Mapping[Place, int]
    largest: bool = False

    @property
    def by_slice(self) -> list[Tensor]:
        """The values of each slice, over all rows of a node, ``(nodes,)``."""
        values = self.rows.values()
        return [each.amax(1) if self.largest else each.sum(1) for each in values]

    @property
    def total(self) -> Tensor:
        """The value over all weights, ``(nodes,)``."""
        import torch

        found = torch.stack(self.by_slice)
        return found.amax(0) if self.largest else found.sum(0)

    @property
    def mean(self) -> Tensor:
        """The mean over all entries, ``(nodes,)``."""
        return self.total / self.count

    @property
    def count(self) -> int:
        """The number of entries of all weights that belong to one node."""
        return sum(self.rows[place].shape[1] * each for place, each in self.entries.items())

    def of_components(self, components: int) -> RowTotals:
        """Return the values of components, ``(nodes · components,)`` where this says ``(nodes,)``.

        Raises `NotApplicableError` where the rows of some weight are not the components of a node.
        """
        if components == 1:
            return self
        for each in self.rows.values():
            check_components(each.shape[1], components)
        flat = {place: each.reshape(-1, 1) for place, each in self.rows.items()}
        return RowTotals(flat, self.entries, self.largest)


@frozen
class RowSums:
    """A sum over each row of the weights that write a node, or that read one.

    Attributes:
        of: Σ|w| for ``abs``, Σw² for ``square``, max|w| for ``largest``, Σ|w| log|w| for
            ``entropy``.
        role: ``producer`` for the weights that write the nodes, ``consumer`` for those that read
            them, ``either`` for both, a tied weight once; ``carrier`` for scales, biases and
            depthwise kernels, of which there may be none.
    """

    of: Of = field(validator=validators.in_(("abs", "square", "largest", "entropy")))
    role: Where = field(
        default="consumer",
        validator=validators.in_(("producer", "consumer", "carrier", "either")),
    )

    def reduce(self, weights: GroupWeights) -> RowTotals:
        rows: dict[Place, Tensor] = {}
        entries: dict[Place, int] = {}
        for part in weights.either() if self.role == "either" else weights.parts(self.role):
            place = (part.parameter, part.axis, part.extent)
            rows[place], entries[place] = self._of(weights, part)
        return RowTotals(rows, entries, self.of == "largest")

    def _of(self, weights: GroupWeights, part: ParameterSlice) -> tuple[Tensor, int]:
        """Return the values of one slice, ``(nodes, rows)``, and the entries of one row."""
        import torch

        total, entries = None, 0
        for nodes, tile in weights.tiles(part):
            if total is None:
                total = tile.new_zeros(tile.shape[1], weights.width)
            if nodes.start == 0:
                entries += len(tile)
            into = total[:, nodes]
            if self.of == "largest":
                torch.maximum(into, self._terms(tile).amax(0), out=into)
            else:
                into += self._terms(tile).sum(0)
        assert total is not None
        return total.mT, entries

    def _terms(self, tile: Tensor) -> Tensor:
        if self.of == "square":
            return tile.square()
        size = tile.abs()
        return size.xlogy(size) if self.of == "entropy" else size
