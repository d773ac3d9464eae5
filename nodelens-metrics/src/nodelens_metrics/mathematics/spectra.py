"""Eigenvalues of covariances and weights, and measures of a spectrum."""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

_STEP, _REACH = 0.6, 75.0
"""Distance and range of the points in log t at which the remaining spectrum is evaluated."""

_MOST = 0.99
"""Fraction of the variance above which a node hides the others in the spectrum."""

ROUNDING = 2.0**-40
"""Eigenvalues below this fraction of their sum are rounding, whose roots would count."""


def blocks_of(covariance: Tensor) -> Tensor:
    """Return covariances with a leading axis of blocks, ``(blocks, features, features)``."""
    return covariance.unsqueeze(0) if covariance.ndim == 2 else covariance


def eigenvalues(matrix: Tensor) -> Tensor:
    """Return the eigenvalues of symmetric positive matrices in rising order, none below 0."""
    values: Tensor = torch.linalg.eigvalsh(matrix)
    return values.clamp(min=0.0)


def squared_singular_values(matrix: Tensor) -> Tensor:
    """Return the squared singular values of a matrix, falling, as many as its shorter side.

    The eigenvalues of the product with its own transpose: several times faster than a singular
    value decomposition, and as good down to 10⁻¹⁶ of the largest value, where no fit begins.
    """
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return eigenvalues(small @ small.T).flip(0)


def fractions(values: Tensor) -> Tensor:
    """Return non-negative values divided by their sum over the last axis; all 0 if that is 0."""
    total = values.sum(-1, keepdim=True)
    return torch.where(total > 0, values / total.where(total > 0, 1.0), 0.0)


def effective_rank(values: Tensor) -> Tensor:
    """Return exp(−Σ p log p) with p = σ/Σσ, σ = √λ, over the last axis; 0 of an empty spectrum.

    Roy & Vetterli, The effective rank, EUSIPCO 2007, definition 1, of a data matrix whose second
    moments have the eigenvalues λ.
    """
    total = values.sum(-1, keepdim=True)
    p = fractions(values.where(values > ROUNDING * total, 0.0).sqrt())
    rank: Tensor = torch.special.entr(p).sum(-1).exp()
    return rank.where(p.sum(-1) > 0, 0.0)


def spectral_entropy(values: Tensor) -> Tensor:
    """Return −Σ p log p / log n with p = λ/Σλ over the last axis of n values, 0 to 1."""
    n = values.shape[-1]
    entropy: Tensor = torch.special.entr(fractions(values.clamp(min=0.0))).sum(-1)
    return entropy / log(n) if n > 1 else entropy * 0.0


def participation_ratio(trace: Tensor, squares: Tensor) -> Tensor:
    """Return (Σλ)² / Σλ² from the trace and the squared Frobenius norm; 0 where both are."""
    return torch.where(squares > 0, trace.square() / squares.where(squares > 0, 1.0), 0.0)


def decay(values: Tensor, first: int, weighted: bool) -> Tensor:
    """Return −slope of log λ_k over log k by least squares, k = first, first + 1, …; a scalar.

    Weighted, λ_k counts 1/k, so that every factor in k has about the same weight.
    """
    rank = torch.arange(len(values), dtype=values.dtype, device=values.device) + first
    weight = 1.0 / rank if weighted else torch.ones_like(rank)
    x, y = (each - (weight @ each) / weight.sum() for each in (rank.log(), values.log()))
    slope: Tensor = ((weight * x) @ y) / ((weight * x) @ x)
    return -slope


def effective_rank_without_each(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the effective rank of a covariance, a scalar, and without each node, ``(nodes,)``.

    The covariance without node i has det(S_i + t) = det(S + t) · m_i(t), m_i(t) = Σ_k v_ik²/(λ_k +
    t) with v_ik the entry of node i in eigenvector k (Cramer's rule). So Σ log(1 + μ/t) over its
    eigenvalues μ is known for every t, and √μ and √μ log μ are integrals of it:

        2π √μ = ∫ log(1 + μ/t) t^(−1/2) dt,   2π √μ (log μ − 2) = ∫ log(1 + μ/t) t^(−1/2) log t dt.

    In log t the integrands are analytic in a strip of half-width π and fall off at both ends, where
    equidistant sums converge geometrically: to 10⁻¹³ with the step taken here. Beside the
    eigenvectors all nodes together take one product of ``nodes² · points``.
    """
    values, vectors = torch.linalg.eigh(covariance)
    scale = values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
    poles, weights = (values / scale).clamp(min=0.0), vectors.square()
    poles = poles.where(poles > ROUNDING * poles.sum(), 0.0)
    s = torch.arange(-_REACH, _REACH + _STEP, _STEP, dtype=poles.dtype, device=poles.device)
    t = s.exp()
    logs = torch.where(
        s < 0,
        (weights @ (t / (poles.unsqueeze(1) + t))).log(),
        torch.log1p(-(weights @ (poles.unsqueeze(1) / (poles.unsqueeze(1) + t)))),
    )
    density = logs * (_STEP / (2 * pi) * (s / 2).exp())
    roots = poles.sqrt()
    lost, lost_logs = density.sum(1), (density * s).sum(1)
    total, total_logs = roots.sum(), torch.special.xlogy(roots, poles).sum()
    without = _rank(total + lost, total_logs + 2 * lost + lost_logs)
    fraction = fractions(covariance.diagonal())
    for node in (fraction > _MOST).nonzero().flatten().tolist():  # at most one
        others = torch.arange(len(fraction), device=fraction.device) != node
        without[node] = effective_rank(eigenvalues(covariance[others][:, others]))
    return _rank(total, total_logs), without


def without_each(covariance: Tensor, nodes: int) -> Iterator[Tensor]:
    """Yield the covariance without the components of each node, neighbours in both axes."""
    each = len(covariance) // nodes
    for node in range(nodes):
        others = torch.arange(len(covariance), device=covariance.device) // each != node
        yield covariance[others][:, others]


def _rank(roots: Tensor, logs: Tensor) -> Tensor:
    """Return the effective rank from Σ√λ and Σ√λ log λ; 0 where there is no root."""
    rank: Tensor = roots * (-logs / (2 * roots)).exp()
    return rank.where(roots > 0, 0.0)


FEWEST = 6
"""Least number of values for the fit of a power law."""


class PowerLaw(NamedTuple):
    """A power law fitted to the tail of a spectrum.

    `alpha` is its exponent, `start` the smallest value of the tail, `distance` the
    Kolmogorov–Smirnov distance between tail and law, `tail` the number of values in the tail.
    """

    alpha: float
    start: float
    distance: float
    tail: int


def power_law(values: Tensor) -> PowerLaw | None:
    """Return the power law with the smallest Kolmogorov–Smirnov distance; None of too few values.

    For every possible start of the tail the exponent is the maximum-likelihood estimate
    α = 1 + n / Σ log(λ/λ_min) (Clauset, Shalizi & Newman 2009, SIAM Review 51, eq. 3.1 and section
    3.3), as WeightWatcher fits it: every value but the largest may be the start.
    """
    ordered = values[values > 0].double().sort().values
    n = len(ordered)
    if n < FEWEST:
        return None
    logs = ordered.log()
    count = torch.arange(n, 0, -1, dtype=torch.float64, device=logs.device)
    excess = logs.flip(0).cumsum(0).flip(0) - count * logs
    starts = torch.arange(n - 1, device=logs.device)
    starts = starts[excess[starts] > 0]
    if not len(starts):
        return None
    alphas = 1.0 + count[starts] / excess[starts]
    parts = -(-len(starts) // 64)
    distances = torch.cat(
        [
            _distances(logs, *part)
            for part in zip(starts.chunk(parts), alphas.chunk(parts), strict=True)
        ]
    )
    best = int(distances.argmin())
    first = int(starts[best])
    return PowerLaw(float(alphas[best]), float(ordered[first]), float(distances[best]), n - first)


def _distances(logs: Tensor, starts: Tensor, alphas: Tensor) -> Tensor:
    """Return the largest distance of empirical and fitted distribution of each tail."""
    n = len(logs)
    index = torch.arange(n, dtype=torch.float64, device=logs.device)
    inside = index >= starts.unsqueeze(1)
    empirical = (index - starts.unsqueeze(1)) / (n - starts).unsqueeze(1)
    exponent = (1.0 - alphas).unsqueeze(1) * (logs - logs[starts].unsqueeze(1)).clamp(min=0.0)
    fitted = -torch.expm1(exponent)
    return (empirical - fitted).abs().where(inside, 0.0).amax(1)


_ROUNDING = 1e-24
"""Squared singular values below this fraction of the largest one are rounding."""


def bulk_edge(values: Tensor, rows: int, columns: int) -> float:
    """Return the Marchenko–Pastur edge: the largest value of a random matrix of these sizes.

    `values` are all squared singular values, the largest first, of a ``(rows, columns)`` matrix
    with entries of variance σ², of which the largest lies near σ²(√rows + √columns)² (Marchenko &
    Pastur 1967). σ² is estimated from the values below the edge, until nothing changes (Martin &
    Mahoney 2021, 1810.01075, section 3.2). With k values above the edge the rest counts as a random
    matrix of k fewer rows and columns. 0 where all values below the edge are zeros.
    """
    above, values = 0, values[: min(rows, columns)]
    values = values.where(values > _ROUNDING * values[0], 0.0)
    while above < len(values):
        r, c = rows - above, columns - above
        variance = float(values[above:].sum(dtype=torch.float64)) / (r * c)
        edge: float = variance * (r**0.5 + c**0.5) ** 2
        found = int((values > edge).sum())
        if found <= above:
            return edge
        above = found
    return 0.0
