"""Ranks of feature maps, and each node's part of the nuclear norm of all maps together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State

ROOM = 2**22
"""Elements of the matrices that are decomposed at once."""


@frozen(eq=False)
class MapSummary:
    """The mean over rows of one number per node, ``(nodes,)`` float64, and the number of rows."""

    rows: Tensor
    mean: Tensor


@renamed_arguments(tap="reads")
@frozen
class MapRanks:
    """The rank of each node's feature map, averaged over rows (block B16).

    A singular value counts if it exceeds the largest one by more than the precision of the
    activation times the longer side, as in ``torch.linalg.matrix_rank``. Sites whose positions are
    no grid of two axes have no maps: their rows do not count. Source: Lin et al. 2020, "HRank",
    arXiv:2002.10179, equation 5.

    Attributes:
        reads: the read point.
    """

    reads: ReadPoint = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset()
    additive: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        return layout.folds * (layout.nodes + 1)

    def start(self, layout: Layout) -> State:
        return _start(layout)

    def update(self, state: State, reading: Reading) -> None:
        """Add the ranks of every row's maps; padding is zeros, which change no rank."""
        from nodelens.statistics.rows import over_components

        height, width = reading.grid if len(reading.grid) == 2 else (0, 0)
        if height * width == reading.values.shape[1]:
            ranks = map_ranks(reading.values, height, width)
            _add(state, reading, over_components(ranks, reading.components) / reading.components)

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> MapSummary:
        return _summary(state, keep)


@renamed_arguments(tap="reads")
@frozen
class NuclearNorms:
    """Each node's part of the nuclear norm of a row's activation, averaged over rows (block B16).

    With A the ``(nodes, positions)`` matrix of one row: ‖A‖_* minus that of A with the node's row
    set to zero, or with the rows of all of its components. Source: Sui et al. 2021, "CHIP",
    arXiv:2110.13981, equation 3.

    Attributes:
        reads: the read point.
    """

    reads: ReadPoint = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"whole_rows"})
    additive: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        return layout.folds * (layout.nodes + 1)

    def start(self, layout: Layout) -> State:
        return _start(layout)

    def update(self, state: State, reading: Reading) -> None:
        """Add the parts of every row's nodes; padding is zeros, which change no norm."""
        import torch

        each = reading.components
        parts = [nuclear_contributions(values.double().mT, each) for values in reading.values]
        if parts:
            _add(state, reading, torch.stack(parts))

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> MapSummary:
        return _summary(state, keep)


def map_ranks(values: Tensor, height: int, width: int) -> Tensor:
    """Return the rank of the map of every row and node, ``(rows, nodes)`` float64.

    `values` is ``(rows, positions, nodes)``, the positions row by row of a grid. The decomposition
    is in float64, so that rounding of its own decides nothing.
    """
    import torch

    rows, _, nodes = values.shape
    tolerance = max(height, width) * torch.finfo(values.dtype).eps
    maps = values.mT.reshape(rows * nodes, height, width)
    ranks = [
        torch.linalg.matrix_rank(part.double(), rtol=tolerance)
        for part in torch.split(maps, max(1, ROOM // (height * width)))
    ]
    return torch.cat(ranks).view(rows, nodes).double()


def nuclear_contributions(matrix: Tensor, components: int = 1) -> Tensor:
    """Return ‖A‖_* minus the nuclear norm of A without row i, for every row i, ``(rows,)``.

    Of nodes of several components, which are neighbouring rows, without all rows of node i,
    ``(nodes,)``; each then takes a decomposition of its own.

    With A = U S Vᵀ of rank k, the singular values of A without row i are those of the k × k matrix
    (I − c·ûûᵀ) S, where u = |u|·û are the first k entries of row i of U, w are the others, and
    c = 1 − |w| = 1 − sqrt(1 − |u|²): its square (I − uuᵀ) is UᵀU without the row. Through AAᵀ half
    of the digits would be lost.
    """
    import torch

    if components > 1:
        return _without_blocks(matrix, components)
    active = matrix.abs().amax(-1) > 0
    if matrix.shape[1] > matrix.shape[0]:
        matrix = torch.linalg.qr(matrix.mT, mode="r").R.mT
    left, sizes, _ = torch.linalg.svd(matrix)
    k = max(1, int((sizes > sizes[:1] * torch.finfo(sizes.dtype).eps).sum()))
    u, sizes = left[:, :k], sizes[:k]
    lost = (1.0 - left[:, k:].norm(dim=-1, keepdim=True)).clamp(min=0.0)
    norm = u.norm(dim=-1, keepdim=True)
    away, toward = (u / norm).where(norm > 0, 0.0), (lost * u / norm).where(norm > 0, 0.0)
    eye = torch.eye(k, dtype=u.dtype, device=u.device)
    step = max(1, ROOM // k**2)
    rest = [
        torch.linalg.svdvals((eye - one.unsqueeze(-1) * other.unsqueeze(-2)) * sizes)
        for one, other in zip(torch.split(away, step), torch.split(toward, step), strict=True)
    ]
    difference: Tensor = sizes.sum() - torch.cat(rest).sum(-1)
    return difference.clamp(min=0.0).where(active, 0.0)


def _without_blocks(matrix: Tensor, components: int) -> Tensor:
    """Return the drop of the nuclear norm without each block of rows, ``(blocks,)``."""
    import torch

    whole, found = torch.linalg.svdvals(matrix).sum(), []
    for first in range(0, len(matrix), components):
        last = first + components
        rest = torch.cat([matrix[:first], matrix[last:]])
        norm = torch.linalg.svdvals(rest).sum() if len(rest) else whole * 0.0
        found.append((whole - norm).clamp(min=0.0) * matrix[first:last].any())
    return torch.stack(found)


def _start(layout: Layout) -> State:
    from nodelens.statistics.rows import zeros

    return {"rows": zeros(layout), "sum": zeros(layout, layout.nodes)}


def _add(state: State, reading: Reading, per_row: Tensor) -> None:
    from nodelens.statistics.rows import add_rows, row_counts

    add_rows(state["rows"], (row_counts(reading) > 0).double(), reading.fold)
    add_rows(state["sum"], per_row, reading.fold)


def _summary(state: State, keep: Tensor) -> MapSummary:
    rows = state["rows"][keep].sum()
    return MapSummary(rows, state["sum"][keep].sum(0) / rows.clamp(min=1.0))
