"""The pruning methods: named recipes of a ranking, an allocation, a selection and a repair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.config.renamed_keys import renamed

if TYPE_CHECKING:
    from nodelens.interfaces.pruner import PruningPlan, PruningRequest

Allocation = Literal["uniform", "global", "standardised"]
Repair = Literal["none", "mean_bias"]


def _sparsity() -> Any:
    return field(default=0.5, validator=[validators.ge(0.0), validators.lt(1.0)])


def _min_nodes() -> Any:
    return field(default=1, validator=validators.ge(1), metadata=renamed("minimum"))


_POSITIVE: Any = validators.deep_mapping(validators.instance_of(str), validators.ge(1))


@frozen
class MagnitudePruner:
    """Filters with the smallest L1 norm of their weights go first.

    With the default allocation this is the selection of Li et al., arXiv 1608.08710, section 3.1,
    with one sparsity for all layers and without retraining.

    Attributes:
        sparsity: share of the nodes that go, out of those that may be pruned.
        allocation: how that share is divided; uniform takes it from every group, global ranks all
            nodes together, standardised does so after a z-score within each group.
        protect: patterns of group names that stay whole; * matches anything.
        repair: mean_bias adds what a removed node's mean contributes to its readers' biases.
        min_nodes: nodes of a group that stay at least.
        round_to: by pattern of group names, a number that divides how many nodes stay, if not all.
    """

    sparsity: float = _sparsity()
    allocation: Allocation = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(
        factory=dict, validator=_POSITIVE, hash=False, metadata=renamed("multiples")
    )

    def metrics(self) -> tuple[str, ...]:
        """Return ``weight_l1``."""
        return ("weight_l1",)

    def plan(self, request: PruningRequest) -> PruningPlan:
        """Choose the nodes that stay."""
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), self.metrics()[0])


@frozen
class TaylorPruner:
    """Nodes with the smallest squared first-order loss change go first.

    With the default allocation this is the ranking of Molchanov et al., arXiv 1906.10771 (Taylor FO
    at gates), over all layers at once; in one step and without fine-tuning in between.

    Attributes:
        sparsity: share of the nodes that go, out of those that may be pruned.
        allocation: how that share is divided; uniform takes it from every group, global ranks all
            nodes together, standardised does so after a z-score within each group.
        protect: patterns of group names that stay whole; * matches anything.
        repair: mean_bias adds what a removed node's mean contributes to its readers' biases.
        min_nodes: nodes of a group that stay at least.
        round_to: by pattern of group names, a number that divides how many nodes stay, if not all.
    """

    sparsity: float = _sparsity()
    allocation: Allocation = "global"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(
        factory=dict, validator=_POSITIVE, hash=False, metadata=renamed("multiples")
    )

    def metrics(self) -> tuple[str, ...]:
        """Return ``taylor``."""
        return ("taylor",)

    def plan(self, request: PruningRequest) -> PruningPlan:
        """Choose the nodes that stay."""
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), self.metrics()[0])


@frozen
class RandomPruner:
    """Nodes go at random, fixed by the run's seed.

    Attributes:
        sparsity: share of the nodes that go, out of those that may be pruned.
        allocation: uniform takes that share from every group, global draws from all nodes together.
        protect: patterns of group names that stay whole; * matches anything.
        repair: mean_bias adds what a removed node's mean contributes to its readers' biases.
        min_nodes: nodes of a group that stay at least.
        round_to: by pattern of group names, a number that divides how many nodes stay, if not all.
    """

    sparsity: float = _sparsity()
    allocation: Literal["uniform", "global"] = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(
        factory=dict, validator=_POSITIVE, hash=False, metadata=renamed("multiples")
    )

    def metrics(self) -> tuple[str, ...]:
        """Return nothing: chance needs no metric."""
        return ()

    def plan(self, request: PruningRequest) -> PruningPlan:
        """Choose the nodes that stay."""
        from nodelens_pruning.planning import Budget, plan_at_random

        return plan_at_random(request, Budget.of(self))


@frozen
class ScorePruner:
    """Nodes with the lowest importance by any metric go first.

    Attributes:
        metric: the metric that ranks the nodes; it must say which end of its scale to keep.
        sparsity: share of the nodes that go, out of those that may be pruned.
        allocation: how that share is divided; uniform takes it from every group, global ranks all
            nodes together, standardised does so after a z-score within each group.
        protect: patterns of group names that stay whole; * matches anything.
        repair: mean_bias adds what a removed node's mean contributes to its readers' biases.
        min_nodes: nodes of a group that stay at least.
        round_to: by pattern of group names, a number that divides how many nodes stay, if not all.
    """

    metric: str = field(validator=validators.min_len(1))
    sparsity: float = _sparsity()
    allocation: Allocation = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(
        factory=dict, validator=_POSITIVE, hash=False, metadata=renamed("multiples")
    )

    def metrics(self) -> tuple[str, ...]:
        """Return the chosen metric."""
        return (self.metric,)

    def plan(self, request: PruningRequest) -> PruningPlan:
        """Choose the nodes that stay."""
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), self.metric)
