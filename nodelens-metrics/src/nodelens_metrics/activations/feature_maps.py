"""Metrics of feature maps as matrices, and of the change that a block makes to its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.block_change import BlockSimilarity
from nodelens.statistics.maps import MapRanks, NuclearNorms

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView


@frozen
class HRank:
    """Mean rank of a node's feature map over images.

    The source ranks maps after the nonlinearity, as here. Not defined where the positions are no
    grid of height and width: for tokens and dense layers, and where the next layer reads the maps
    flattened, without a known height and width.
    """

    info = MetricInfo(
        name="hrank",
        formula="mean_n rank(map_i of image n)",
        unit="1",
        higher_is_better=True,
        source="Lin et al. 2020, HRank, 2002.10179, eq. 5",
        dead_nodes="lowest",
        invariances=frozenset({"activation_scale", "functional", "incoming_scale"}),
    )
    statistics = (MapRanks(),)

    def score(self, group: GroupView) -> Tensor:
        ranks = group[MapRanks()]
        if not ranks.rows > 0:
            raise NotApplicableError(
                "what the next layer reads has no grid of height and width: there are no maps, or "
                "they are flattened; chip needs no grid"
            )
        return ranks.mean


@frozen
class Chip:
    """Channel independence (CHIP): drop of the feature maps' nuclear norm without the node.

    Small for a node whose map the others span. One singular value decomposition per image.
    """

    info = MetricInfo(
        formula="mean_n ‖A‖_* − ‖A without row i‖_*, A the (nodes, positions) of image n",
        unit="activation",
        higher_is_better=True,
        source="Sui et al. 2021, CHIP, 2110.13981, eq. 3",
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (NuclearNorms(),)

    def score(self, group: GroupView) -> Tensor:
        return group[NuclearNorms()].mean


@frozen
class BlockInfluence:
    """Block influence: 1 − cosine similarity of input and output of a residual block.

    A block is a module from the residual stream to itself: a transformer layer, a residual block.
    All groups inside a block have the block's number. Near 0 for a block that could be removed.
    """

    info = MetricInfo(
        formula="1 − E[cos(h_in, h_out)] over positions",
        unit="1",
        higher_is_better=True,
        source="Men et al. 2024, ShortGPT, 2403.03853, eq. 1",
        level="layer",
    )
    statistics = (BlockSimilarity(),)

    def score(self, group: GroupView) -> Tensor:
        graph = group.network.graph
        owners = [part.parameter for part in group.group.weights("producer")]
        for block in graph.blocks if graph is not None else ():
            inside = all(owner.startswith(f"{block.module}.") for owner in owners)
            if owners and inside:
                return (1.0 - group.at_module(BlockSimilarity(), block.module).cosine).view(1)
        raise NotApplicableError("the group lies in no block from a residual stream to itself")
