"""Correlations between nodes of several components, such as heads, from those of components.

Two nodes have a matrix of covariances between their components, C_ij. Two measures do not depend on
the basis in which a node's components are given: ρ_ij = ‖C_ij‖ / (‖C_ii‖ ‖C_jj‖)^½ with Frobenius
norms, the root of the RV coefficient (Robert & Escoufier 1976, 10.2307/2347233), and the
information between the components as jointly Gaussian vectors. Of one component both are those of
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens_metrics.mathematics.tiles import Correlations


@frozen(eq=False)
class BlockCorrelations:
    """Correlations ρ_ij between nodes of several components, 0 to 1.

    `inner` are the correlations between components and `scale` the standard deviations of the
    components of all nodes; components that `inner` has beyond these are no nodes.
    """

    inner: Correlations
    scale: Tensor
    components: int

    @property
    def count(self) -> Tensor:
        """The number of samples."""
        return self.inner.count

    @property
    def live(self) -> Tensor:
        """Mask of the nodes of which a component varies."""
        return self.inner.live[: len(self.scale)].view(-1, self.components).any(1)

    @cached_property
    def _matrix(self) -> Tensor:
        """All correlations, ``(nodes, nodes)`` float64."""
        import torch

        from nodelens.statistics.rows import by_node

        width = len(self.scale)
        scale = self.scale.double().where(self.inner.live[:width], 0.0)
        squares = []
        for first, tile in self.inner.tiles():
            rows = tile[: max(0, width - first), :width] * scale
            rows *= scale[first : first + len(rows)].unsqueeze(1)
            squares.append(by_node(rows.square_(), self.components).sum(2))
        norms = by_node(torch.cat(squares).T, self.components).sum(2).T.sqrt()
        return frobenius_cosines(norms).fill_diagonal_(1.0)

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Yield all rows in one tile, ``(nodes, nodes)`` float64."""
        yield 0, self._matrix.clone()

    def entries(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the correlations of pairs of nodes, of the broadcast shape of both indices."""
        return self._matrix[left, right]

    def columns(self, nodes: Tensor) -> Tensor:
        """Return the correlations of all nodes with some, ``(nodes, some)`` float64."""
        return self._matrix[:, nodes]


def frobenius_cosines(norms: Tensor) -> Tensor:
    """Return ‖C_ij‖ / (‖C_ii‖ ‖C_jj‖)^½ of the norms of all blocks, 0 with a constant node."""
    from nodelens_metrics.mathematics.arithmetic import ratio

    size = norms.diagonal().sqrt()
    return ratio(norms, size.unsqueeze(1) * size).clamp(0.0, 1.0)


def block_norms(matrix: Tensor, components: int) -> Tensor:
    """Return the Frobenius norms of the blocks of a matrix, ``(nodes, nodes)``."""
    sides = (len(matrix) // components, components)
    return matrix.reshape(*sides, *sides).square().sum((1, 3)).sqrt()


def of_nodes(inner: Correlations, scale: Tensor, components: int) -> Correlations:
    """Return the correlations between nodes; `scale` are the components' standard deviations."""
    return inner if components == 1 else BlockCorrelations(inner, scale, components)


def components_of(rho: Correlations) -> int:
    """Return the number of components of each node."""
    return rho.components if isinstance(rho, BlockCorrelations) else 1


def component_indices(nodes: Tensor, components: int) -> Tensor:
    """Return the components of nodes ``(…, size)``, ``(…, size · components)``."""
    import torch

    each = torch.arange(components, device=nodes.device)
    return (nodes.unsqueeze(-1) * components + each).flatten(-2)
