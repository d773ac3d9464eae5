"""Metrics of the spectrum of a layer's activations, and each node's contribution.

λ are the eigenvalues of the covariance of a group's activations, of all components of its nodes.
Metrics of the whole group are layer metrics: one number per group, which ranks no nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.gram import Gram
from nodelens_metrics.mathematics.intervals import BIASED

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

_SHIFT_FREE = frozenset({"activation_shift", "incoming_scale"})
_AT_LEAST_ONE: Any = validators.optional(validators.ge(1))


@frozen
class Leverage:
    """Ridge leverage score: fraction of a node that the other nodes do not predict.

    Near 1 for a node that no other node can replace, near 0 for a weak or redundant node. The sum
    over nodes is the effective dimension of the layer.

    Attributes:
        ridge: κ as a multiple of the mean diagonal of M.
        centred: use the covariance in place of the second moments.
    """

    info = MetricInfo(
        formula="[M (M + κI)⁻¹]_ii, M = E[aaᵀ]; of components: the trace of the node's block",
        unit="1",
        higher_is_better=True,
        source="Alaoui & Mahoney 2015, ridge leverage scores, 1411.0306, definition 1",
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    ridge: float = field(default=0.01, validator=validators.gt(0.0))
    centred: bool = False

    def score(self, group: GroupView) -> Tensor:
        import torch

        gram = group[Gram()]
        matrix = gram.covariance if self.centred else gram.second_moment
        scale = matrix.diagonal().mean()
        if scale == 0:
            return matrix.diagonal() * 0.0
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        factor = torch.linalg.cholesky(matrix / scale + self.ridge * identity)
        left = torch.cholesky_inverse(factor).diagonal()
        return group.total((1.0 - self.ridge * left).clamp(min=0.0))


@frozen
class RankContribution:
    """Decrease of the effective rank of a layer's activations without the node.

    Negative where a strong node outweighs the others.
    """

    info = MetricInfo(
        formula="erank(Σ) − erank(Σ without the rows and columns of node i)",
        unit="1",
        higher_is_better=True,
        source="Roy & Vetterli 2007, The effective rank, definition 1, left out by one",
        invariances=_SHIFT_FREE,
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.spectra import (
            effective_rank,
            effective_rank_without_each,
            eigenvalues,
            without_each,
        )

        covariance = group[Gram()].covariance
        if group.components > 1:
            return effective_rank(eigenvalues(covariance)) - torch.stack(
                [
                    effective_rank(eigenvalues(rest))
                    for rest in without_each(covariance, group.width)
                ]
            )
        whole, without = effective_rank_without_each(covariance)
        return whole - without


@frozen
class ParticipationContribution:
    """Decrease of the participation ratio of a layer's activations without the node."""

    info = MetricInfo(
        formula="PR(Σ) − PR(Σ without the rows and columns of node i), PR = (tr Σ)² / ‖Σ‖²",
        unit="1",
        higher_is_better=True,
        source="common; participation ratio, left out by one",
        invariances=_SHIFT_FREE,
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import diagonal_blocks
        from nodelens_metrics.mathematics.spectra import participation_ratio

        covariance = group[Gram()].covariance
        diagonal, trace = group.total(covariance.diagonal()), covariance.trace()
        squares, own = covariance.square(), diagonal.square()
        if group.components > 1:
            own = diagonal_blocks(squares, group.components).sum((1, 2))
        rest = squares.sum() - 2 * group.total(squares.sum(1)) + own
        total = squares.sum()
        rest = rest.where(rest > 1e-12 * total, 0.0)
        return participation_ratio(trace, total) - participation_ratio(trace - diagonal, rest)


@frozen
class EigenShare:
    """Fraction of the variance of the leading principal components that a node carries.

    Attributes:
        top: number of leading directions; None takes all, which gives Σ_ii / tr Σ.
    """

    info = MetricInfo(
        formula="Σ_k≤top λ_k v_ki² / Σ_k≤top λ_k, added over components",
        unit="1",
        higher_is_better=True,
        source="common; contribution of a variable to principal components",
        dead_nodes="lowest",
        invariances=_SHIFT_FREE,
    )
    statistics = (Gram(),)

    top: int | None = option(1, _AT_LEAST_ONE, examples=[2, None])

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio

        values, vectors = torch.linalg.eigh(group[Gram()].covariance)
        count = min(self.top or len(values), len(values))
        leading = values.clamp(min=0.0)[-count:]
        return group.total(ratio(vectors[:, -count:].square() @ leading, leading.sum()))


def _spectrum(group: GroupView) -> Tensor:
    """Return the eigenvalues of the activations' covariance, rising; raises if nothing varies."""
    from nodelens_metrics.mathematics.spectra import eigenvalues

    values = eigenvalues(group[Gram()].covariance)
    if not values[-1] > 0:
        raise NotApplicableError("no node of the group varies")
    return values


@frozen
class EffectiveRank:
    """Effective rank of a layer's activations: exp of the entropy of the singular values."""

    info = MetricInfo(
        formula="exp(−Σ p log p), p_k = √λ_k / Σ √λ",
        unit="1",
        higher_is_better=None,
        source="Roy & Vetterli 2007, The effective rank, definition 1",
        invariances=_SHIFT_FREE,
        level="layer",
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import effective_rank

        return effective_rank(_spectrum(group)).view(1)


@frozen
class ParticipationRatio:
    """Participation ratio: effective number of principal components of a layer."""

    info = MetricInfo(
        formula="(Σ λ)² / Σ λ² = (tr Σ)² / ‖Σ‖²",
        unit="1",
        higher_is_better=None,
        source="common; Gao & Ganguli 2015",
        invariances=_SHIFT_FREE,
        level="layer",
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        values = _spectrum(group)
        return (values.sum().square() / values.square().sum()).view(1)


@frozen
class SpectralEntropy:
    """Entropy of a layer's eigenvalue spectrum; 1 for equal variance in all directions."""

    info = MetricInfo(
        formula="−Σ p log p / log n, p_k = λ_k / Σ λ",
        unit="1",
        higher_is_better=None,
        source="common; normalised von Neumann entropy of the covariance",
        invariances=_SHIFT_FREE,
        level="layer",
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import spectral_entropy

        return spectral_entropy(_spectrum(group)).view(1)


@frozen
class NESum:
    """Sum of the eigenvalues of a layer's covariance over the largest eigenvalue (NESum).

    The sum of the normalised eigenvalues, which is the stable rank of the centred activations.
    """

    info = MetricInfo(
        name="nesum",
        formula="Σ_k λ_k / λ_1",
        unit="1",
        higher_is_better=None,
        source="He & Ozay 2022, Exploring the Gap between Collapsed & Whitened Features, NESum",
        invariances=_SHIFT_FREE,
        level="layer",
    )
    statistics = (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        values = _spectrum(group)
        return (values.sum() / values[-1]).view(1)


@frozen
class EigenspectrumDecay:
    """Exponent α of the eigenvalue decay λ_k ∝ k^−α of a layer (α-ReQ); near 1 is best.

    Attributes:
        skip: leading eigenvalues that are left out of the fit.
        until: fraction of the eigenvalues, from the largest, that the fit uses: the last are noise.
        weighted: let eigenvalue k count 1/k in the fit, as the published code does.
    """

    info = MetricInfo(
        formula="−slope of log λ_k over log k, by least squares with weights 1/k",
        unit="1",
        higher_is_better=None,
        source=(
            "Agrawal et al. 2022, α-ReQ, NeurIPS, and its authors' code (reptrix), with the "
            "weights of "
            "Stringer et al. 2019; there eigenvalues 11 to 100 are fitted"
        ),
        invariances=_SHIFT_FREE,
        level="layer",
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    skip: int = field(default=0, validator=validators.ge(0))
    until: float = field(default=0.5, validator=(validators.gt(0.0), validators.le(1.0)))
    weighted: bool = option(True, beside=[{}, {"until": 1.0}])

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.spectra import decay

        values = _spectrum(group).flip(0)
        last = max(round(self.until * len(values)), self.skip + 3)
        chosen = values[self.skip : last]
        chosen = chosen[chosen > 1e-12 * values[0]]
        if len(chosen) < 3:
            raise NotApplicableError("fewer than three eigenvalues are left to fit")
        return decay(chosen, self.skip + 1, self.weighted).view(1)
