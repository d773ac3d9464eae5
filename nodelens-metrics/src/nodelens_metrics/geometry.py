"""Where a node's incoming weights lie among those of the other nodes of its group.

All pairs of nodes, worked out for `CHUNK` nodes at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Dead = Literal["worst", "best", "any"]
_INCOMING = frozenset({"activation_scale", "activation_shift", "functional"})

CHUNK = 1024
"""Nodes that are compared with all others at once."""

CLOSE = 1e-6
"""Squared distances below this share of the squared norms are worked out from differences."""


@frozen
class FPGM:
    """The sum of the distances to the incoming weights of all other nodes (geometric median).

    A node near the geometric median of its layer can be replaced by the others. Exact duplicates
    have distance 0 to each other, and both stay comparable with the rest. 0 in groups of one node.
    The published pruner can drop small filters first; this is its distance alone.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "Σ_j ‖w_i − w_j‖₂"
    source: ClassVar[str] = (
        "He et al. 2019, Filter Pruning via Geometric Median, 1811.00250, and its repository"
    )
    invariances: ClassVar[frozenset[str]] = _INCOMING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the sums; raises `NotApplicableError` where no parameter writes the nodes."""
        import torch

        rows = group.incoming()
        return torch.cat([part.sum(1) for part in distances(rows)])


@frozen
class WeightCosine:
    """The mean cosine between a node's incoming weights and those of each other node.

    1 where all weights point the same way. A node without weights has cosine 0 to all. 0 in groups
    of one node.

    Attributes:
        top: average the `top` most similar nodes only; None averages all.
        absolute: count opposite directions as alike.
    """

    top: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    absolute: bool = False
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "mean_j w_i·w_j / (‖w_i‖ ‖w_j‖), j ≠ i"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _INCOMING | {"incoming_scale"}
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the means; raises `NotApplicableError` where no parameter writes the nodes."""
        import torch

        from nodelens_metrics.arithmetic import ratio
        from nodelens_metrics.pairwise import mean_of_others

        rows = group.incoming()
        unit = ratio(rows, rows.norm(dim=1, keepdim=True))
        means = []
        for first in range(0, group.width, CHUNK):
            cosine = unit[first : first + CHUNK] @ unit.T
            cosine = cosine.abs() if self.absolute else cosine
            means.append(mean_of_others(cosine, first, self.top))
        return torch.cat(means)


def distances(rows: Tensor) -> Iterator[Tensor]:
    """Yield the distances of `CHUNK` rows at a time to all rows, ``(chunk, rows)``.

    From products, ‖x‖² + ‖y‖² − 2x·y, but for close pairs, where that would be rounding.
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
