"""The spectrum of a layer, and what each node adds to it.

λ are the eigenvalues of the covariance of a group's activations. Metrics of the whole group are
layer metrics: one number, which ranks no nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_SHIFT_FREE = frozenset({"activation_shift", "incoming_scale"})
_AT_LEAST_ONE: Any = validators.optional(validators.ge(1))
Dead = Literal["worst", "best", "any"]


@frozen
class Leverage:
    """The ridge leverage of a node: how much of it the others, and itself, must explain.

    Near 1 for a node that no other can stand in for, near 0 for one that is weak or shared. The sum
    over nodes is the effective dimension of the layer.

    Attributes:
        ridge: κ as a multiple of the mean diagonal of M.
        centred: use the covariance in place of the second moments.
    """

    ridge: float = field(default=0.01, validator=validators.gt(0.0))
    centred: bool = False
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "[M (M + κI)⁻¹]_ii, M = E[aaᵀ]"
    source: ClassVar[str] = "Alaoui & Mahoney 2015, ridge leverage scores, 1411.0306, definition 1"
    invariances: ClassVar[frozenset[str]] = frozenset({"incoming_scale"})
    dead: ClassVar[Dead] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The second moments of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the leverages, between 0 and 1."""
        import torch

        gram = group[Gram()]
        matrix = gram.covariance if self.centred else gram.second_moment
        scale = matrix.diagonal().mean()
        if scale == 0:
            return matrix.diagonal() * 0.0
        identity = torch.eye(group.width, dtype=matrix.dtype, device=matrix.device)
        factor = torch.linalg.cholesky(matrix / scale + self.ridge * identity)
        return (1.0 - self.ridge * torch.cholesky_inverse(factor).diagonal()).clamp(min=0.0)


@frozen
class RankContribution:
    """How much the effective rank of the layer falls when the node is left out.

    Negative where a strong node outweighs the others.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "erank(Σ) − erank(Σ without row and column i)"
    source: ClassVar[str] = "Roy & Vetterli 2007, The effective rank, definition 1, left out by one"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the differences."""
        from nodelens_metrics.spectra import effective_rank_without_each

        whole, without = effective_rank_without_each(group[Gram()].covariance)
        return whole - without


@frozen
class ParticipationContribution:
    """How much the participation ratio of the layer falls when the node is left out."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "PR(Σ) − PR(Σ without row and column i), PR = (tr Σ)² / ‖Σ‖²"
    source: ClassVar[str] = "common; participation ratio, left out by one"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the differences."""
        from nodelens_metrics.spectra import participation_ratio

        covariance = group[Gram()].covariance
        diagonal, trace = covariance.diagonal(), covariance.trace()
        squares = covariance.square()
        rest = squares.sum() - 2 * squares.sum(1) + diagonal.square()
        total = squares.sum()
        rest = rest.where(rest > 1e-12 * total, 0.0)
        return participation_ratio(trace, total) - participation_ratio(trace - diagonal, rest)


@frozen
class EigenShare:
    """A node's share of the layer's variance, weighted by how strong its directions are.

    Attributes:
        top: count only so many leading directions; None counts all, which gives Σ_ii / tr Σ.
    """

    top: int | None = field(default=1, validator=_AT_LEAST_ONE)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "Σ_k≤top λ_k v_ki² / Σ_k≤top λ_k"
    source: ClassVar[str] = "common; contribution of a variable to principal components"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the shares, which sum to 1 unless nothing varies."""
        import torch

        from nodelens_metrics.arithmetic import ratio

        values, vectors = torch.linalg.eigh(group[Gram()].covariance)
        count = min(self.top or group.width, group.width)
        leading = values.clamp(min=0.0)[-count:]
        return ratio(vectors[:, -count:].square() @ leading, leading.sum())


def _spectrum(group: GroupView) -> Tensor:
    """Return the eigenvalues of the covariance of the activations, rising; refuses silence."""
    from nodelens_metrics.spectra import eigenvalues

    values = eigenvalues(group[Gram()].covariance)
    if not values[-1] > 0:
        raise NotApplicableError("no node of the group varies")
    return values


@frozen
class EffectiveRank:
    """The effective rank of a layer's activations: how many directions they use."""

    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "exp(−Σ p log p), p_k = √λ_k / Σ √λ"
    source: ClassVar[str] = "Roy & Vetterli 2007, The effective rank, definition 1"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the rank, between 1 and the number of nodes."""
        from nodelens_metrics.spectra import effective_rank

        return effective_rank(_spectrum(group)).view(1)


@frozen
class ParticipationRatio:
    """The participation ratio of a layer's activations: how many directions hold the variance."""

    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "(Σ λ)² / Σ λ² = (tr Σ)² / ‖Σ‖²"
    source: ClassVar[str] = "common; Gao & Ganguli 2015"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the ratio, between 1 and the number of nodes."""
        values = _spectrum(group)
        return (values.sum().square() / values.square().sum()).view(1)


@frozen
class SpectralEntropy:
    """The entropy of a layer's variance over directions, 1 if all hold the same."""

    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "−Σ p log p / log n, p_k = λ_k / Σ λ"
    source: ClassVar[str] = "common; normalised von Neumann entropy of the covariance"
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the entropy, between 0 and 1."""
        from nodelens_metrics.spectra import spectral_entropy

        return spectral_entropy(_spectrum(group)).view(1)


@frozen
class NESum:
    """The total variance of a layer's activations over that of their first direction.

    The sum of the normalised eigenvalues, which is the stable rank of the centred activations.
    """

    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "Σ_k λ_k / λ_1"
    source: ClassVar[str] = (
        "He & Ozay 2022, Exploring the Gap between Collapsed & Whitened Features, NESum"
    )
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the rank, at least 1."""
        values = _spectrum(group)
        return (values.sum() / values[-1]).view(1)


@frozen
class EigenspectrumDecay:
    """How fast the eigenvalues fall: the exponent α of λ_k ∝ k^−α (α-ReQ); near 1 is best.

    Attributes:
        skip: leading eigenvalues that are left out of the fit.
        until: share of the eigenvalues, from the largest, that the fit uses: the last are noise.
        weighted: let eigenvalue k count 1/k in the fit, as the published code does.
    """

    skip: int = field(default=0, validator=validators.ge(0))
    until: float = field(default=0.5, validator=(validators.gt(0.0), validators.le(1.0)))
    weighted: bool = True
    level: ClassVar[str] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "−slope of log λ_k over log k, by least squares with weights 1/k"
    source: ClassVar[str] = (
        "Agrawal et al. 2022, α-ReQ, NeurIPS, and its authors' code (reptrix), with the weights of "
        "Stringer et al. 2019; there eigenvalues 11 to 100 are fitted"
    )
    invariances: ClassVar[frozenset[str]] = _SHIFT_FREE
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the exponent; raises `NotApplicableError` with fewer than three eigenvalues."""
        from nodelens_metrics.spectra import decay

        values = _spectrum(group).flip(0)
        last = max(round(self.until * len(values)), self.skip + 3)
        chosen = values[self.skip : last]
        chosen = chosen[chosen > 1e-12 * values[0]]
        if len(chosen) < 3:
            raise NotApplicableError("fewer than three eigenvalues are left to fit")
        return decay(chosen, self.skip + 1, self.weighted).view(1)
