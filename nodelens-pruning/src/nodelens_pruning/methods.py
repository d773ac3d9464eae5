"""Pruning methods: combinations of a ranking, an allocation, a selection and a repair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from nodelens.interfaces.pruner import PruningPlan, PruningRequest

Allocation = Literal["uniform", "global", "standardised"]
Repair = Literal["none", "mean_bias"]


def _sparsity() -> Any:
    return field(default=0.5, validator=[validators.ge(0.0), validators.lt(1.0)])


def _min_nodes() -> Any:
    return field(default=1, validator=validators.ge(1))


_POSITIVE: Any = validators.deep_mapping(validators.instance_of(str), validators.ge(1))


@renamed_arguments(minimum="min_nodes", multiples="round_to")
@frozen
class MagnitudePruner:
    """Filters with the smallest L1 norm of their weights are pruned first.

    With the default allocation this is the selection of Li et al., arXiv 1608.08710, section 3.1,
    with one sparsity for all layers and without retraining.

    Attributes:
        sparsity: fraction of the nodes to prune, out of all nodes that can be pruned.
        allocation: division over groups; uniform prunes this fraction of every group, global ranks
            all nodes together, standardised does so after a z-score within each group.
        protect: patterns of names of groups that are kept whole; * matches anything.
        repair: mean_bias adds the contribution of a removed node's mean to the consumers' biases.
        min_nodes: least number of nodes to keep in a group.
        round_to: by pattern of group names, a divisor of the number of kept nodes, unless all are.
    """

    sparsity: float = _sparsity()
    allocation: Allocation = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(factory=dict, validator=_POSITIVE, hash=False)

    def metrics(self) -> tuple[str, ...]:
        return ("nodelens-metrics:weight_l1",)

    def plan(self, request: PruningRequest) -> PruningPlan:
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), "weight_l1")


@renamed_arguments(minimum="min_nodes", multiples="round_to")
@frozen
class TaylorPruner:
    """Nodes with the smallest squared first-order loss change are pruned first.

    With the default allocation this is the ranking of Molchanov et al., arXiv 1906.10771 (Taylor FO
    at gates), over all layers at once; in one step and without fine-tuning in between.

    Attributes:
        sparsity: fraction of the nodes to prune, out of all nodes that can be pruned.
        allocation: division over groups; uniform prunes this fraction of every group, global ranks
            all nodes together, standardised does so after a z-score within each group.
        protect: patterns of names of groups that are kept whole; * matches anything.
        repair: mean_bias adds the contribution of a removed node's mean to the consumers' biases.
        min_nodes: least number of nodes to keep in a group.
        round_to: by pattern of group names, a divisor of the number of kept nodes, unless all are.
    """

    sparsity: float = _sparsity()
    allocation: Allocation = "global"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(factory=dict, validator=_POSITIVE, hash=False)

    def metrics(self) -> tuple[str, ...]:
        return ("nodelens-metrics:taylor",)

    def plan(self, request: PruningRequest) -> PruningPlan:
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), "taylor")


@renamed_arguments(minimum="min_nodes", multiples="round_to")
@frozen
class RandomPruner:
    """Random nodes are pruned, fixed by the run's seed.

    Attributes:
        sparsity: fraction of the nodes to prune, out of all nodes that can be pruned.
        allocation: uniform prunes this fraction of every group, global draws from all nodes
            together.
        protect: patterns of names of groups that are kept whole; * matches anything.
        repair: mean_bias adds the contribution of a removed node's mean to the consumers' biases.
        min_nodes: least number of nodes to keep in a group.
        round_to: by pattern of group names, a divisor of the number of kept nodes, unless all are.
    """

    sparsity: float = _sparsity()
    allocation: Literal["uniform", "global"] = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(factory=dict, validator=_POSITIVE, hash=False)

    def metrics(self) -> tuple[str, ...]:
        return ()

    def plan(self, request: PruningRequest) -> PruningPlan:
        from nodelens_pruning.planning import Budget, plan_at_random

        return plan_at_random(request, Budget.of(self))


@renamed_arguments(minimum="min_nodes", multiples="round_to")
@frozen
class ScorePruner:
    """Nodes with the lowest importance by any metric are pruned first.

    Attributes:
        metric: the metric that ranks the nodes; it must have a direction.
        sparsity: fraction of the nodes to prune, out of all nodes that can be pruned.
        allocation: division over groups; uniform prunes this fraction of every group, global ranks
            all nodes together, standardised does so after a z-score within each group.
        protect: patterns of names of groups that are kept whole; * matches anything.
        repair: mean_bias adds the contribution of a removed node's mean to the consumers' biases.
        min_nodes: least number of nodes to keep in a group.
        round_to: by pattern of group names, a divisor of the number of kept nodes, unless all are.
    """

    name: ClassVar[str] = "by_score"

    metric: str = field(validator=validators.min_len(1))
    sparsity: float = _sparsity()
    allocation: Allocation = "uniform"
    protect: tuple[str, ...] = ()
    repair: Repair = "none"
    min_nodes: int = _min_nodes()
    round_to: dict[str, int] = field(factory=dict, validator=_POSITIVE, hash=False)

    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def plan(self, request: PruningRequest) -> PruningPlan:
        from nodelens_pruning.planning import Budget, plan_by_metric

        return plan_by_metric(request, Budget.of(self), self.metric)
