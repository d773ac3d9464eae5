"""Greedy search of the most redundant or most synergistic set around each node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from attrs import evolve, field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import CHOSEN_SETS
from nodelens_metrics.mathematics.second_moments import INVARIANCES, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.class_correlations import Terms

Goal = Literal["redundancy", "synergy"]
_AT_ONCE = 2**18


@frozen
class GreedyOInformation:
    """O-information of the most redundant or synergistic set grown greedily around a node.

    Starts with the best pair of partners and adds the best next partner from a pool: the nodes with
    the strongest connection to the node. A connection is a correlation, or the product of two
    correlations along an intermediate node, because two causes of a common effect need not be
    correlated. The largest, or smallest, of many estimates: N samples of unrelated nodes give
    values of the order of log(pool)/N. 0 for dead and constant nodes, which are in no set.

    Attributes:
        goal: redundancy searches the largest O-information, synergy the smallest.
        pool: number of candidate partners.
    """

    info = MetricInfo(
        formula=(
            "max_S Ω(S) or min_S Ω(S), i in S, S grown greedily; nodes of components as vectors"
        ),
        unit="nats",
        higher_is_better=False,
        source="Rosas et al. 2019, 1902.11239, O-information; greedy search",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
    )

    goal: Goal = field(default="redundancy", validator=validators.in_(get_args(Goal)))
    size: int = options.size(4)
    pool: int = field(default=16, validator=validators.ge(2))
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> GreedyOInformation:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)], group.components)
        return extreme_o_information([(1.0, rho)], self) * rho.live


class GreedyMetric(Protocol):
    """Options of metrics that search sets."""

    @property
    def goal(self) -> Goal:
        """Whether redundant or synergistic sets are searched."""

    @property
    def size(self) -> int:
        """Nodes in a set."""

    @property
    def pool(self) -> int:
        """Number of candidate partners."""

    @property
    def noise(self) -> float:
        """Relative variance of the noise that every node gets."""


def extreme_o_information(terms: Terms, metric: GreedyMetric) -> Tensor:
    """Return Ω of the set found around each node, ``(nodes,)`` float64.

    With several correlations the weighted mean of a set's Ω counts. Raises `NotApplicableError`
    with too few nodes.
    """
    import torch

    from nodelens_metrics.information.sets import joint_correlations
    from nodelens_metrics.mathematics.blocks import components_of

    pool = min(metric.pool, len(terms[0][1].live) - 1)
    if pool < metric.size - 1:
        raise NotApplicableError(
            f"a set of {metric.size} needs {metric.size - 1} partners, there are {pool}"
        )
    sign, components = 1.0 if metric.goal == "redundancy" else -1.0, components_of(terms[0][1])
    step = max(1, _AT_ONCE // (pool**2 * 9 * components**2))
    found = []
    for members in torch.split(connected(terms, pool), step):
        joint = [(weight, joint_correlations(rho, members, metric.noise)) for weight, rho in terms]
        found.append(_grown(joint, metric.size, sign, components))
    return torch.cat(found)


def connected(terms: Terms, pool: int) -> Tensor:
    """Return each node and the `pool` nodes with the strongest connection, in this order."""
    import torch

    from nodelens_metrics.mathematics.class_correlations import mean_strengths

    strength, nearest = [], []
    for first, tile in mean_strengths(terms):
        tile[:, first : first + len(tile)].fill_diagonal_(0.0)
        found = tile.topk(pool, dim=1)
        strength.append(found.values)
        nearest.append(found.indices)
    near, weight = torch.cat(nearest), torch.cat(strength)
    every = torch.arange(len(near), device=near.device)
    step = max(1, _AT_ONCE // len(near))
    return torch.cat([_two_steps(near, weight, nodes) for nodes in torch.split(every, step)])


def _two_steps(near: Tensor, weight: Tensor, nodes: Tensor) -> Tensor:
    """Return some nodes and their strongest connections, in one step or two."""
    import torch

    pool = near.shape[1]
    strongest = weight.new_zeros(len(nodes), len(near))
    chains = (weight[nodes].unsqueeze(2) * weight[near[nodes]]).flatten(1)
    strongest.scatter_reduce_(1, near[near[nodes]].flatten(1), chains, "amax")
    strongest.scatter_reduce_(1, near[nodes], weight[nodes], "amax")
    strongest.scatter_(1, nodes.unsqueeze(1), -1.0)
    return torch.cat([nodes.unsqueeze(1), strongest.topk(pool, dim=1).indices], dim=1)


def _grown(
    joint: Sequence[tuple[float, Tensor]], size: int, sign: float, components: int
) -> Tensor:
    """Return Ω of the set grown from the first variable of each matrix, ``(matrices,)``.

    A variable is a run of so many `components`.
    """
    import torch

    from nodelens_metrics.mathematics.blocks import component_indices
    from nodelens_metrics.mathematics.total_correlation import o_information

    matrices, variables = len(joint[0][1]), joint[0][1].shape[1] // components
    every = torch.arange(matrices, device=joint[0][1].device)
    pairs = torch.combinations(torch.arange(1, variables, device=every.device))
    sets = torch.cat([pairs.new_zeros(len(pairs), 1), pairs], dim=1)
    candidates = sets.expand(matrices, -1, -1)
    while True:
        members = component_indices(candidates, components)
        parts = [
            weight * o_information(_submatrices(each, members), components)
            for weight, each in joint
        ]
        values = torch.stack(parts).sum(0)
        best = (sign * values).argmax(1)
        chosen, value = candidates[every, best], values[every, best]
        if chosen.shape[1] == size:
            return value
        candidates = _extended(chosen, variables)


def _submatrices(matrices: Tensor, members: Tensor) -> Tensor:
    """Return the matrices of sets ``(matrices, sets, size)`` of variables."""
    import torch

    every = torch.arange(len(matrices), device=members.device)[:, None, None, None]
    return matrices[every, members.unsqueeze(3), members.unsqueeze(2)]


def _extended(chosen: Tensor, variables: int) -> Tensor:
    """Return each set with each variable that it lacks, ``(matrices, lacking, size + 1)``."""
    import torch

    lacking = torch.ones(len(chosen), variables, dtype=torch.bool, device=chosen.device)
    lacking.scatter_(1, chosen, False)
    others = lacking.nonzero()[:, 1].view(len(chosen), -1, 1)
    return torch.cat([chosen.unsqueeze(1).expand(-1, others.shape[1], -1), others], dim=2)
