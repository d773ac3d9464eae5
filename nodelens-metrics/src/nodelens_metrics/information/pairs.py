"""Decomposition of the information of pairs of nodes about a target, in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

from attrs import frozen

from nodelens.interfaces.statistic import OUTPUTS
from nodelens_metrics.information.target_gram import TargetGram
from nodelens_metrics.mathematics.blocks import BlockCorrelations

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.labelled_rows import Target
    from nodelens_metrics.mathematics.tiles import Correlations

_AT_ONCE = 2**22
"""Entries of joint matrices in memory at once."""

Part = Literal["redundancy", "unique", "synergy", "co_information"]


class PairMetric(Protocol):
    """Options of metrics of pairs."""

    @property
    def target(self) -> Target:
        """Number about the output."""

    @property
    def top(self) -> int | None:
        """Partners that are averaged."""

    @property
    def correct_bias(self) -> bool:
        """Whether biases are subtracted."""

    @property
    def noise(self) -> float:
        """Relative variance of the noise that every node and the target get."""

    @property
    def sketch(self) -> int | None:
        """Rank of the sketch."""


@frozen(eq=False)
class Parts:
    """Decomposition of I(T; a_i, a_j) of some nodes i with all nodes j, each ``(i, j)``.

    `first` is I(T; a_i), `second` I(T; a_j), `both` I(T; a_i, a_j). Minus their biases they can be
    below 0; only the parts that equal one of them are clipped at 0.
    """

    first: Tensor
    second: Tensor
    both: Tensor

    @property
    def redundancy(self) -> Tensor:
        """Information about the target in either node: the smaller of the two, at least 0."""
        return self.first.minimum(self.second).clamp(min=0.0)

    @property
    def unique(self) -> Tensor:
        """Information of i about the target beyond the redundancy."""
        return self.first.clamp(min=0.0) - self.redundancy

    @property
    def synergy(self) -> Tensor:
        """Information about the target in both nodes only jointly."""
        return self.both - self.first.maximum(self.second)

    @property
    def co_information(self) -> Tensor:
        """Redundancy minus synergy: minus the interaction information."""
        return self.first + self.second - self.both


def decompose(first: Tensor, second: Tensor, rho: Tensor) -> Parts:
    """Return the decomposition from correlations with the target, r_i and r_j, and ρ_ij.

    All broadcast; a joint correlation matrix of full rank is expected. I(T; a_i, a_j) is I(T; a_i)
    and −½ log(1 − p²), p the correlation of a_j and T given a_i, which is exact where 1 − ρ² is
    small.
    """
    from nodelens_metrics.mathematics.pairwise import information

    alone = information(first)
    other = second - first * rho
    rest = (1 - rho.square()) * (1 - first.square())
    partial = (other.square() / rest).clamp(max=1 - 1e-15)
    return Parts(alone, information(second), alone - 0.5 * (-partial).log1p())


@frozen
class _Pairs:
    """The correlations that a metric of pairs reads, tile by tile, and the biases of its terms.

    Those of the targets are behind those of the nodes, or of their components.
    """

    rho: Correlations
    target: int
    noise: float
    biases: tuple[float, float]

    @property
    def nodes(self) -> int:
        vectors = isinstance(self.rho, BlockCorrelations)
        return len(self.rho.live) - (0 if vectors else len(OUTPUTS))

    def parts(self) -> Iterator[tuple[int, Tensor, Parts]]:
        """Yield first node, correlations and decomposition of every tile."""
        import torch

        if isinstance(self.rho, BlockCorrelations):
            found = vector_parts(self.rho, self.target, self.noise)
            yield 0, next(iter(self.rho.tiles()))[1], self._corrected(found, 0)
            return
        everyone = torch.arange(self.nodes, device=self.rho.live.device)
        with_target = self.rho.entries(everyone, everyone * 0 + self.nodes + self.target)
        with_target = with_target / (1.0 + self.noise)
        for first, whole in self.rho.tiles():
            rows = min(len(whole), self.nodes - first)
            if rows <= 0:
                continue
            tile = whole[:rows, : self.nodes] / (1.0 + self.noise)
            own = with_target[first : first + rows].unsqueeze(1)
            yield first, tile, self._corrected(decompose(own, with_target, tile), first)

    def _corrected(self, parts: Parts, first: int) -> Parts:
        """Return the parts minus their biases, where nodes vary."""
        one, two = self.biases
        if not two:
            return parts
        live = self.rho.live[: self.nodes].double()
        mine = live[first : first + len(parts.first)].unsqueeze(1)
        both = parts.both - one * (mine + live) - (two - 2 * one) * mine * live
        return Parts(parts.first - one * mine, parts.second - one * live, both)


def vector_parts(rho: BlockCorrelations, target: int, noise: float) -> Parts:
    """Return the decomposition for nodes of several components, as Gaussian vectors.

    The variance of the target that a set leaves is the last pivot of the set's correlations, the
    target behind it.
    """
    import torch

    from nodelens_metrics.information.sets import joint_correlations
    from nodelens_metrics.mathematics.blocks import component_indices

    width, nodes = len(rho.scale), len(rho.live)

    def about(members: Tensor) -> Tensor:
        found = []
        for some in torch.split(
            members, max(1, _AT_ONCE // (members.shape[1] * rho.components) ** 2)
        ):
            inside = component_indices(some, rho.components)
            last = inside.new_full((len(some), 1), width + target)
            joint = joint_correlations(rho.inner, torch.cat([inside, last], 1), noise)
            found.append(-torch.linalg.cholesky(joint)[:, -1, -1].log())
        return torch.cat(found)

    every = torch.arange(nodes, device=rho.scale.device)
    alone, pairs = about(every.unsqueeze(1)), torch.combinations(every)
    both = alone.diag()
    if len(pairs):
        both[pairs[:, 0], pairs[:, 1]] = both[pairs[:, 1], pairs[:, 0]] = about(pairs)
    first, second = alone.unsqueeze(1).expand_as(both), alone.expand_as(both)
    return Parts(first, second, both)


def _pairs(group: GroupView, metric: PairMetric) -> _Pairs:
    from nodelens_metrics.mathematics.estimators import gaussian_information_bias
    from nodelens_metrics.mathematics.tiles import correlations_in

    width = group.components
    rho = correlations_in(group[TargetGram(metric.sketch)], width, len(OUTPUTS))
    biases = (0.0, 0.0)
    if metric.correct_bias:
        one, two = (float(gaussian_information_bias(d * width, 1, rho.count)) for d in (1, 2))
        biases = (one, two)
    return _Pairs(rho, OUTPUTS.index(metric.target), metric.noise, biases)


def averaged(
    group: GroupView,
    metric: PairMetric,
    part: Part,
    *,
    largest: bool = True,
    pool: int | None = None,
) -> Tensor:
    """Return the mean of one part over a node's partners, ``(nodes,)`` float64.

    Over the `top` partners where it is largest, or smallest; among the `pool` partners that are
    most correlated with the node.
    """
    import torch

    from nodelens_metrics.mathematics.pairwise import mean_of_others

    found, pairs = [], _pairs(group, metric)
    for first, rho, parts in pairs.parts():
        values: Tensor = getattr(parts, part)
        if pool is not None and pool < pairs.nodes - 1:
            values = values.where(_nearest(rho, first, pool), -torch.inf if largest else torch.inf)
        top = min(metric.top or pairs.nodes, pool or pairs.nodes)
        found.append(mean_of_others(values, first, top, largest=largest))
    return torch.cat(found)


def _nearest(rho: Tensor, first: int, pool: int) -> Tensor:
    """Return for each row the `pool` most correlated nodes, ``(rows, nodes)``."""
    import torch

    strength = rho.abs()
    strength[:, first : first + len(rho)].fill_diagonal_(-1.0)
    chosen = torch.zeros_like(rho, dtype=torch.bool)
    return chosen.scatter_(1, strength.topk(pool, dim=1).indices, True)
