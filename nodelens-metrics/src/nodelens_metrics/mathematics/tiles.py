"""Correlations between nodes, computed at every read: in tiles of rows, or entry by entry.

Layers of 14 000 nodes have 1.6 GB of float64 correlations. Metrics of sums over rows, of the
largest entries of rows or of small sets of nodes read them from the triangle that the pass adds up,
or from a sketch, and never hold the square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.statistics.gram import GramSummary
    from nodelens.statistics.sketch import SketchSummary
    from nodelens.statistics.triangle import Triangle

AT_ONCE = {"cpu": 2**18, "cuda": 2**25}
"""Entries of a tile, by device: the size of a processor's cache, or enough to fill a device."""

COPIED = 2**23
"""Entries of samples that are centred at once."""

LEAST_ROWS = 128
"""Least rows of a product for which the whole factor is read."""


class Correlations(Protocol):
    """Correlations between the nodes of a group; a constant node has none with others.

    `live`, ``(nodes,)`` of bool, is False for constant nodes; `count` is the number of samples.
    """

    @property
    def live(self) -> Tensor:
        """Mask of the nodes that vary."""

    @property
    def count(self) -> Tensor:
        """The number of samples."""

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row of every tile and the tile, ``(rows, nodes)`` float64."""

    def entries(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the correlations of pairs of nodes, of the broadcast shape of both indices."""

    def columns(self, nodes: Tensor) -> Tensor:
        """Return the correlations of all nodes with some, ``(nodes, some)`` float64."""


@frozen(eq=False)
class FactoredCorrelations:
    """Correlations zᵀz of z ``(samples or rank, nodes)``, whose columns have length 1 or 0."""

    factor: Tensor
    count: Tensor

    @property
    def live(self) -> Tensor:
        return self.factor.square().sum(0) > 0

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        nodes = self.factor.shape[1]
        step = max(LEAST_ROWS, _rows_at_once(self.factor, nodes))
        for first in range(0, nodes, step):
            part = self.factor[:, first : first + step].T @ self.factor
            yield first, _with_ones(part.double(), first)

    def entries(self, left: Tensor, right: Tensor) -> Tensor:
        """Return products of columns, for some pairs at a time."""
        import torch

        shape = (left + right).shape
        left, right = left.expand(shape).flatten(), right.expand(shape).flatten()
        step = _rows_at_once(self.factor, len(self.factor))
        found = [self.factor.new_zeros(0)]
        for first in range(0, len(left), step):
            a, b = left[first : first + step], right[first : first + step]
            rho = (self.factor[:, a] * self.factor[:, b]).sum(0).clamp(-1.0, 1.0)
            found.append(rho.where(a != b, 1.0))
        return torch.cat(found).view(shape).double()

    def columns(self, nodes: Tensor) -> Tensor:
        import torch

        rho = (self.factor.T @ self.factor[:, nodes]).double().clamp_(-1.0, 1.0)
        rho[nodes, torch.arange(len(nodes), device=nodes.device)] = 1.0
        return rho


@frozen(eq=False)
class PackedCorrelations:
    """Correlations from the triangle of a covariance, ``(size,)``, and variances, ``(nodes,)``."""

    packed: Tensor
    variance: Tensor
    count: Tensor

    @property
    def live(self) -> Tensor:
        return self.variance > 0

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the rows of one block of the triangle, or of a part of one, at a time."""
        import torch

        blocks = list(self._triangle().blocks(self.packed))
        size = self._size()
        step = _rows_at_once(size, len(size))
        for number, (_, columns, block) in enumerate(blocks):
            for first in range(columns.start, columns.stop, step):
                rows = slice(first, min(first + step, columns.stop))
                within = slice(rows.start - columns.start, rows.stop - columns.start)
                right = [later[rows] for _, _, later in blocks[number + 1 :]]
                tile = torch.cat([block[:, within].T, *right], dim=1).double()
                tile /= size[rows].unsqueeze(1)
                yield first, _with_ones(tile.div_(size), first)

    def entries(self, left: Tensor, right: Tensor) -> Tensor:
        """Return entries of the triangle, found by their position in it."""
        import torch

        row, column = left.minimum(right), left.maximum(right)
        columns = self._triangle().columns
        starts = torch.tensor([start for start, _ in columns], device=row.device)
        widths = torch.tensor([stop - start for start, stop in columns], device=row.device)
        block = torch.searchsorted(starts, column, right=True) - 1
        sizes = torch.tensor([stop * (stop - start) for start, stop in columns]).cumsum(0)
        before = torch.cat([sizes.new_zeros(1), sizes[:-1]]).to(row.device)[block]
        found = self.packed[before + row * widths[block] + column - starts[block]].double()
        size = self._size()
        return (found / (size[row] * size[column])).clamp(-1.0, 1.0).where(row != column, 1.0)

    def columns(self, nodes: Tensor) -> Tensor:
        import torch

        return self.entries(torch.arange(len(self.variance), device=nodes.device)[:, None], nodes)

    def _triangle(self) -> Triangle:
        from nodelens.statistics.triangle import Triangle

        return Triangle(len(self.variance))

    def _size(self) -> Tensor:
        """Return standard deviations, infinite for constants, so that their correlations are 0."""
        import torch

        std = self.variance.double().sqrt()
        return std.where(std > 0, torch.inf)


def _rows_at_once(like: Tensor, width: int) -> int:
    return max(1, AT_ONCE.get(like.device.type, AT_ONCE["cpu"]) // width)


def _with_ones(tile: Tensor, first: int) -> Tensor:
    """Return a tile within [−1, 1] and with 1 on the diagonal of the whole."""
    tile.clamp_(-1.0, 1.0)
    tile[:, first : first + len(tile)].fill_diagonal_(1.0)
    return tile


def correlations_of(x: Tensor) -> PackedCorrelations:
    """Return the correlations of stored samples ``(samples, nodes)``, in their own precision.

    Only the triangle is computed, a little over half of the square. A node whose standard deviation
    is below eight roundings of its mean is constant.
    """
    import torch

    from nodelens.statistics.triangle import Triangle

    mean = x.mean(0)
    triangle = Triangle(x.shape[1])
    packed = mean.new_zeros(triangle.size)
    for some in torch.split(x, max(1, COPIED // x.shape[1])):
        triangle.add_products(packed, some - mean)
    square = triangle.diagonal(packed)
    rounding = len(x) * (8 * torch.finfo(x.dtype).eps * mean).square()
    variance = square.where(square > rounding, square.new_zeros(()))
    return PackedCorrelations(packed, variance, torch.tensor(float(len(x)), dtype=torch.float64))


def correlations_in(
    summary: GramSummary | SketchSummary, components: int = 1, others: int = 0
) -> Correlations:
    """Return the correlations between nodes, from the summary of a `Gram` or of a `GramSketch`.

    Nodes of several components have those of `BlockCorrelations`; `others` are the numbers at the
    end that are no components.

    A sketch adds the noise of as many samples as its rank: `count` is the number of samples with as
    much noise as the data's samples and the sketch together.
    """
    import torch

    from nodelens.statistics.gram import GramSummary
    from nodelens_metrics.mathematics.blocks import of_nodes

    if components > 1:
        width = len(summary.variance) - others
        return of_nodes(correlations_in(summary), summary.variance[:width].sqrt(), components)
    if isinstance(summary, GramSummary):
        return PackedCorrelations(summary.packed, summary.variance, summary.count)
    size = summary.variance.sqrt()
    size = size.where(size > 0, torch.inf)
    count = 1.0 + 1.0 / (1.0 / (summary.count - 1.0) + 1.0 / len(summary.sketch))
    return FactoredCorrelations(summary.sketch / size, count)
