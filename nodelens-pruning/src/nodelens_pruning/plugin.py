"""One plugin per pruning method; a method is imported when a config names it."""

from __future__ import annotations

from attrs import frozen

from nodelens.plugins.hookspecs import hookimpl
from nodelens.plugins.specs import PrunerSpec


@frozen
class MethodPlugin:
    """Plugin of one pruning method of `nodelens_pruning.methods`."""

    name: str
    target: str
    summary: str

    @hookimpl
    def nodelens_register_pruners(self) -> list[PrunerSpec]:
        """Return the specification of the method."""
        return [PrunerSpec(self.name, f"nodelens_pruning.methods:{self.target}", self.summary)]


magnitude = MethodPlugin(
    "magnitude", "MagnitudePruner", "Smallest L1 norm of the incoming weights is pruned first."
)
taylor = MethodPlugin(
    "taylor", "TaylorPruner", "Smallest first-order loss change is pruned first, over all groups."
)
random = MethodPlugin(
    "random", "RandomPruner", "Random nodes are pruned: the baseline for all methods."
)
by_score = MethodPlugin(
    "by_score", "ScorePruner", "Lowest importance by any metric is pruned first."
)
