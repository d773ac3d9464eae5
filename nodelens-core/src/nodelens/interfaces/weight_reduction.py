"""The interface of weight reductions: what a metric needs of the weights of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from nodelens.scoring.group_weights import GroupWeights

ReducedT_co = TypeVar("ReducedT_co", covariant=True)


class WeightReduction(Protocol[ReducedT_co]):
    """A summary of the weights that write or read the nodes of a group.

    Implementations are frozen attrs classes; a metric names those that it reads in `weights`, and
    reads them as ``group[reduction]``. Each is computed once for a group, however many metrics and
    folds read it, from the weights that the model multiplies with. The module must import without
    torch.

    Example:
        ::

            @frozen
            class Signs:
                \"\"\"Sum of the signs of the weights that read each node.\"\"\"

                def reduce(self, weights: GroupWeights) -> Tensor:
                    total = torch.zeros(weights.width, dtype=torch.float64)
                    for part in weights.parts("consumer"):
                        for nodes, tile in weights.tiles(part):
                            total[nodes] += tile.sign().sum((0, 1)).cpu()
                    return total
    """

    def reduce(self, weights: GroupWeights) -> ReducedT_co:
        """Compute the summary.

        Args:
            weights: the weights of one channel group, as a whole or in tiles of bounded size.

        Returns:
            What ``group[reduction]`` gives a metric.

        Raises:
            NotApplicableError: with the reason, where the summary is undefined.
        """
