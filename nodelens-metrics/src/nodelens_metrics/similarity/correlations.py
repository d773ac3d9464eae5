"""Metrics of similarity of nodes: cosines, correlations, and relations to the next group.

Averages are over all other nodes of the group. Dead and constant nodes are included and have
similarity 0 to all. Groups of one node get 0. Nodes of several components are similar as vectors,
in whatever basis: 1 for two that are rotations of each other; such similarities have no sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.reservoir import Reservoir
from nodelens.weights.rows import Rows
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import BIASED
from nodelens_metrics.mathematics.second_moments import NOISE, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_COUNT: Any = validators.optional(validators.ge(1))


@frozen
class ActivationCorrelation:
    """Mean absolute correlation of a node's activation with each other activation.

    Attributes:
        absolute: take |ρ|, so that a node and its negative are similar.
    """

    info = MetricInfo(
        formula=(
            "mean_j |ρ_ij|, j ≠ i; of components: ρ_ij = ‖C_ij‖ / (‖C_ii‖ ‖C_jj‖)^½, C covariances"
        ),
        unit="1",
        higher_is_better=False,
        source="common; Pearson correlation",
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
        no_interval=BIASED,
    )

    absolute: bool = True
    top: int | None = options.top()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> ActivationCorrelation:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.pairwise import mean_of_others
        from nodelens_metrics.mathematics.tiles import correlations_in

        tiles = correlations_in(group[second_moments(self.sketch)], group.components).tiles()
        found = [
            mean_of_others(tile.abs_() if self.absolute else tile, first, self.top)
            for first, tile in tiles
        ]
        return torch.cat(found)


@frozen
class ActivationCosine:
    """Mean absolute cosine (uncentred) of a node's activation with each other activation."""

    info = MetricInfo(
        formula=(
            "mean_j |E[a_i a_j]| / sqrt(E[a_i²] E[a_j²]), j ≠ i; of components: Frobenius norms of "
            "E[a_i a_jᵀ]"
        ),
        unit="1",
        higher_is_better=False,
        source="common; cosine similarity",
        dead_nodes="highest",
        invariances=frozenset({"activation_scale", "functional", "incoming_scale"}),
        no_interval=BIASED,
    )

    top: int | None = options.top()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> ActivationCosine:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio
        from nodelens_metrics.mathematics.blocks import block_norms, frobenius_cosines
        from nodelens_metrics.mathematics.pairwise import mean_of_others
        from nodelens_metrics.mathematics.tiles import correlations_in

        moments, found = group[second_moments(self.sketch)], []
        if group.components > 1:
            norms = block_norms(moments.second_moment, group.components)
            return mean_of_others(frobenius_cosines(norms), 0, self.top)
        size = (moments.variance + moments.mean.square()).sqrt()
        spread, level = ratio(moments.variance.sqrt(), size), ratio(moments.mean, size)
        for first, tile in correlations_in(moments).tiles():
            rows = slice(first, first + len(tile))
            tile *= spread[rows, None] * spread
            tile += level[rows, None] * level
            found.append(mean_of_others(tile.abs_(), first, self.top))
        return torch.cat(found)


@frozen
class WeightCorrelation:
    """Mean absolute correlation of a node's incoming weights with each other node's weights.

    `weight_cosine` of weights minus their mean over the inputs, which two nodes of different
    patterns may have in common. 0 for nodes all of whose weights are equal.

    Attributes:
        absolute: take |ρ|, so that a node and its negative are similar.
    """

    info = MetricInfo(
        formula=(
            "mean_j |corr(w_i, w_j)|, j ≠ i, over the inputs; of components: ‖W_i W_jᵀ‖ / (‖W_i "
            "W_iᵀ‖ ‖W_j W_jᵀ‖)^½ of centred rows"
        ),
        unit="1",
        higher_is_better=False,
        source="common; Pearson correlation",
        invariances=frozenset(
            {"activation_scale", "activation_shift", "functional", "incoming_scale"}
        ),
    )
    statistics = ()
    weights = (Rows("producer"),)

    absolute: bool = True
    top: int | None = options.top()

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.class_correlations import factored
        from nodelens_metrics.mathematics.pairwise import mean_of_others
        from nodelens_metrics.mathematics.weight_blocks import incoming_cosines

        if group.components > 1:
            return mean_of_others(incoming_cosines(group, centred=True), 0, self.top)
        found = [
            mean_of_others(tile.abs_() if self.absolute else tile, first, self.top)
            for first, tile in factored(group[Rows("producer")].matrix.T).tiles()
        ]
        return torch.cat(found)


@frozen
class NextLayerInformation:
    """Mean Gaussian mutual information of a node with the nodes of the next group.

    The next group is the next readable one in the forward pass; its weights need not read this
    group. Not defined for the last group. A plug-in estimate: about 1/(2N) nats without any
    dependence.

    Attributes:
        top: average over the `top` nodes of largest information; None averages all.
    """

    info = MetricInfo(
        formula=(
            "mean_j −½ log(1 − ρ_ij²/(1+10⁻⁶)²), j in the next group; of components: summed over "
            "the canonical correlations ρ"
        ),
        unit="nats",
        higher_is_better=True,
        source="Cover & Thomas 2006, Gaussian case; common",
        dead_nodes="lowest",
        invariances=frozenset({"activation_shift", "functional", "incoming_scale"}),
    )
    statistics = (CrossGram(),)

    top: int | None = options.top()

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.canonical import cross_information
        from nodelens_metrics.mathematics.pairwise import information

        moments = group[CrossGram()]
        if group.components == 1 and moments.other_within.shape[-1] == 1:
            shared = information(moments.correlation / (1.0 + NOISE))
        else:
            shared = cross_information(moments, NOISE)
        count = min(self.top or shared.shape[1], shared.shape[1])
        return shared.topk(count, dim=1).values.mean(1)


@frozen
class NextLayerCKA:
    """Linear CKA of a group and the next group, with the unbiased estimate of HSIC.

    From the same sampled rows of both groups (row means), at least four. 1 for groups that are
    rotations of each other, around 0 for independent ones. Not defined for the last group.

    Attributes:
        rows: number of rows that are sampled.
    """

    info = MetricInfo(
        formula="HSIC₁(K, L) / sqrt(HSIC₁(K, K) HSIC₁(L, L)), K = XXᵀ, L = YYᵀ",
        unit="1",
        higher_is_better=None,
        source=(
            "Kornblith et al. 2019, 1905.00414, eq. 4; HSIC₁: Nguyen et al. 2021, 2010.15327, eq. 3"
        ),
        invariances=frozenset({"activation_shift", "incoming_scale"}),
        level="layer",
    )

    rows: int = option(512, validators.ge(8), examples=[8])

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (Reservoir(size=self.rows, per="row"),)

    def score(self, group: GroupView) -> Tensor:
        sampled = Reservoir(size=self.rows, per="row")
        one = group[sampled].values
        other = group.next()[sampled].values
        if len(one) < 4:
            raise NotApplicableError(f"{len(one)} rows are sampled; the estimate needs four")
        return centred_alignment(one, other).view(1)


def centred_alignment(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased linear CKA of two sets of rows, ``(rows, nodes)``; 0 of constants."""
    import torch

    k, m = (each - each.mean(0) for each in (x.double(), y.double()))
    k, m = k @ k.T, m @ m.T
    scale = (unbiased_hsic(k, k) * unbiased_hsic(m, m)).clamp(min=0.0).sqrt()
    found = unbiased_hsic(k, m) / scale.where(scale > 0, torch.inf)
    return found.clamp(-1.0, 1.0)


def unbiased_hsic(k: Tensor, m: Tensor) -> Tensor:
    """Return HSIC₁ of two Gram matrices of the same samples (Song et al. 2012, JMLR 13, eq. 5)."""
    n = len(k)
    k, m = k - k.diagonal().diag(), m - m.diagonal().diag()
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * (k.sum(0) @ m.sum(0))
    return ((k * m).sum() + sums) / (n * (n - 3))
