"""Products and distances between the incoming weights of nodes of several components.

The rows of each weight that write one node are a matrix, such as the query rows of a head. Nothing
here depends on the basis of a node's components: not on their order, nor on a rotation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.weights.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView


def incoming_cosines(view: GroupView, *, centred: bool = False) -> Tensor:
    """Return ‖W_i W_jᵀ‖ / (‖W_i W_iᵀ‖ ‖W_j W_jᵀ‖)^½, ``(nodes, nodes)``, with Frobenius norms.

    Squared norms of several weights add up. `centred` takes every row minus its mean.
    """
    import torch

    from nodelens_metrics.mathematics.blocks import frobenius_cosines

    squares = torch.zeros(view.width, view.width, dtype=torch.float64)
    for rows in view[Rows("producer")].by_slice:
        apart = rows - rows.mean(-1, keepdim=True) if centred else rows
        products = _products(apart)
        squares = squares.to(products) + products.square().sum((-1, -2))
    return frobenius_cosines(squares.sqrt())


def incoming_distances(view: GroupView) -> Tensor:
    """Return min ‖W_i − Q W_j‖ over rotations Q of the components, ``(nodes, nodes)``.

    ‖W_i‖² + ‖W_j‖² − 2 ‖W_i W_jᵀ‖_*, the solution of the orthogonal Procrustes problem; squares of
    several weights add up.
    """
    import torch

    total = torch.zeros(view.width, view.width, dtype=torch.float64)
    for rows in view[Rows("producer")].by_slice:
        size = rows.square().sum((1, 2))
        common = torch.linalg.svdvals(_products(rows)).sum(-1)
        total = total.to(rows) + size.unsqueeze(1) + size - 2.0 * common
    return total.clamp(min=0.0).fill_diagonal_(0.0).sqrt()


def _products(rows: Tensor) -> Tensor:
    """Return W_i W_jᵀ of all pairs of ``(nodes, rows, …)``, ``(nodes, nodes, rows, rows)``."""
    nodes, each = rows.shape[:2]
    flat = rows.flatten(0, 1)
    return (flat @ flat.T).view(nodes, each, nodes, each).movedim(1, 2)
