"""Metrics of a node's incoming weights relative to the other nodes of its group.

All pairs of nodes, computed for `CHUNK` nodes at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.weights.rows import Rows
from nodelens_metrics.mathematics import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from nodelens.scoring.view import GroupView

_INCOMING = frozenset({"activation_scale", "activation_shift", "functional"})

CHUNK = 1024
"""Number of nodes compared with all others at once."""

CLOSE = 1e-6
"""Squared distances below this fraction of the squared norms are computed from differences."""


@frozen
class FPGM:
    """Sum of distances to the incoming weights of all other nodes (geometric median).

    A node near the geometric median of its layer can be replaced by the others. Exact duplicates
    have distance 0 to each other, and both remain comparable with the rest. 0 in groups of one
    node. The published pruner can drop small filters first; this is its distance alone.
    """

    info = MetricInfo(
        formula="Σ_j ‖w_i − w_j‖₂; of components: min over rotations Q of ‖W_i − Q W_j‖",
        unit="weight",
        higher_is_better=True,
        source=(
            "He et al. 2019, Filter Pruning via Geometric Median, 1811.00250, and its repository"
        ),
        invariances=_INCOMING,
    )
    statistics = ()
    weights = (Rows("producer"),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.weight_blocks import incoming_distances

        if group.components > 1:
            return incoming_distances(group).sum(1)
        rows = group[Rows("producer")].matrix
        return torch.cat([part.sum(1) for part in distances(rows)])


@frozen
class WeightCosine:
    """Mean cosine between a node's incoming weights and the weights of each other node.

    1 where all weights point the same way. A node without weights has cosine 0 to all. 0 in groups
    of one node.

    Attributes:
        top: average the `top` most similar nodes only; None averages all.
        absolute: count opposite directions as similar, as those of several components always are.
    """

    info = MetricInfo(
        formula=(
            "mean_j w_i·w_j / (‖w_i‖ ‖w_j‖), j ≠ i; of components: ‖W_i W_jᵀ‖ / (‖W_i W_iᵀ‖ "
            "‖W_j W_jᵀ‖)^½"
        ),
        unit="1",
        higher_is_better=False,
        invariances=_INCOMING | {"incoming_scale"},
    )
    statistics = ()
    weights = (Rows("producer"),)

    top: int | None = options.top()
    absolute: bool = False

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio
        from nodelens_metrics.mathematics.pairwise import mean_of_others
        from nodelens_metrics.mathematics.weight_blocks import incoming_cosines

        if group.components > 1:
            return mean_of_others(incoming_cosines(group), 0, self.top)
        rows = group[Rows("producer")].matrix
        unit = ratio(rows, rows.norm(dim=1, keepdim=True))
        means = []
        for first in range(0, group.width, CHUNK):
            cosine = unit[first : first + CHUNK] @ unit.T
            cosine = cosine.abs() if self.absolute else cosine
            means.append(mean_of_others(cosine, first, self.top))
        return torch.cat(means)


def distances(rows: Tensor) -> Iterator[Tensor]:
    """Yield the distances of `CHUNK` rows at a time to all rows, ``(chunk, rows)``.

    From products, ‖x‖² + ‖y‖² − 2x·y, except for close pairs, where these would be rounding.
    """
    squares = rows.square().sum(1)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        size = squares[first : first + CHUNK].unsqueeze(1) + squares
        found = size - 2.0 * part @ rows.T
        left, right = (found < CLOSE * size).nonzero(as_tuple=True)
        found[left, right] = _gaps(part, rows, left, right)
        yield found.clamp(min=0.0).sqrt()


def _gaps(part: Tensor, rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the squared distances of pairs, from differences."""
    import torch

    pairs = zip(torch.split(left, CHUNK), torch.split(right, CHUNK), strict=True)
    return torch.cat([(part[one] - rows[other]).square().sum(1) for one, other in pairs])
