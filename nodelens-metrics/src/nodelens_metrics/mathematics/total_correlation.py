"""Total correlation, its dual, and O-information of Gaussians, from covariances.

In nats: TC = Σ H(a_i) − H(a), DTC = H(a) − Σ H(a_i | the others) and Ω = TC − DTC, positive where a
set is dominated by redundancy and negative where synergy prevails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Measure = Literal["tc", "dtc", "o"]
AT_ONCE = 2**19


def measured(matrices: Tensor, measure: Measure, components: int = 1) -> Tensor:
    """Return one measure of each matrix."""
    functions = {"tc": total_correlation, "dtc": dual_total_correlation, "o": o_information}
    return functions[measure](matrices, components)


def total_correlation(covariance: Tensor, components: int = 1) -> Tensor:
    """Return TC = ½ [Σ log |Σ_ii| − log |Σ|] of covariances ``(..., n, n)`` of full rank.

    The variables are runs of so many `components`.
    """
    logdet, of_each, _ = _logarithms(covariance, components)
    return 0.5 * (of_each - logdet)


def dual_total_correlation(covariance: Tensor, components: int = 1) -> Tensor:
    """Return DTC = ½ [log |Σ| + Σ log |(Σ⁻¹)_ii|] of covariances ``(..., n, n)`` of full rank."""
    logdet, _, of_rest = _logarithms(covariance, components)
    return 0.5 * (logdet + of_rest)


def o_information(covariance: Tensor, components: int = 1) -> Tensor:
    """Return Ω = TC − DTC of covariances ``(..., n, n)`` of full rank; 0 for two variables."""
    logdet, of_each, of_rest = _logarithms(covariance, components)
    return 0.5 * (of_each - of_rest) - logdet


def _logarithms(covariance: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log |Σ|, Σ log |Σ_ii| and Σ log |(Σ⁻¹)_ii|."""
    import torch

    from nodelens_metrics.mathematics.arithmetic import diagonal_blocks

    if components > 1:
        factor = torch.linalg.cholesky(covariance)
        blocks = diagonal_blocks(covariance, components)
        rest = diagonal_blocks(torch.cholesky_inverse(factor), components)
        logdet = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return logdet, *(torch.linalg.slogdet(each).logabsdet.sum(-1) for each in (blocks, rest))
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    of_each = diagonal.log().sum(-1)
    if covariance.shape[-1] == 3:
        logdet, of_pairs = _of_three(covariance, diagonal)
        return logdet, of_each, of_pairs - 3 * logdet
    factor = torch.linalg.cholesky(covariance)
    logdet = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    unit = torch.eye(covariance.shape[-1], dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)
    return logdet, of_each, inverse.square().sum(-2).log().sum(-1)


def _of_three(covariance: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Return log |Σ| of three variables and the sum of log |Σ| of the pairs."""
    x, y, z = diagonal.unbind(-1)
    xy, xz, yz = (covariance[..., i, j] for i, j in ((0, 1), (0, 2), (1, 2)))
    pairs = (x * y - xy * xy, x * z - xz * xz, y * z - yz * yz)
    det = (pairs[0] * pairs[1] - (x * yz - xy * xz).square()) / x
    return det.log(), pairs[0].log() + pairs[1].log() + pairs[2].log()


def o_information_of_triplets(covariance: Tensor) -> Tensor:
    """Return Ω of all triplets i < j < k of n variables, in the order of `torch.combinations`.

    `covariance` is ``(n, n)`` of full rank. With correlations, |Σ_ijk| is (1 − ρ_ij²)(1 − ρ_ik²) −
    (ρ_jk − ρ_ij ρ_ik)², and Ω is ½ log |Σ_ijk| minus ½ log (1 − ρ²) of the three pairs, which are
    computed once.
    """
    import torch

    size = covariance.diagonal().sqrt()
    rho = covariance / (size.unsqueeze(1) * size)
    rest = 1.0 - rho.square()
    half = 0.5 * rest.clamp(min=torch.finfo(rho.dtype).tiny).log()
    flat = rho.flatten(), rest.flatten(), half.flatten()
    found = [_of_triplets(flat, *triplets) for triplets in _all_triplets(len(rho), rho.device)]
    return torch.cat(found) if found else rho.new_zeros(0)


def _all_triplets(n: int, device: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the indices in an ``(n, n)`` matrix of ij, ik and jk of all triplets, in large parts.

    The pairs j < k behind i are the end of the list of all pairs.
    """
    import torch

    pairs = torch.combinations(torch.arange(n, device=device))
    behind = [(n - i - 1) * (n - i - 2) // 2 for i in range(n - 2)]
    first = 0
    while first < len(behind):
        last, total = first, 0
        while last < len(behind) and (last == first or total + behind[last] <= AT_ONCE):
            total += behind[last]
            last += 1
        chosen = [pairs[len(pairs) - behind[i] :] for i in range(first, last)]
        counts = torch.tensor(behind[first:last], device=device)
        i = torch.arange(first, last, device=device).repeat_interleave(counts) * n
        j, k = torch.cat(chosen).unbind(1)
        yield i + j, i + k, j * n + k
        first = last


def _of_triplets(flat: tuple[Tensor, Tensor, Tensor], ij: Tensor, ik: Tensor, jk: Tensor) -> Tensor:
    """Return Ω of triplets from ρ, 1 − ρ² and ½ log(1 − ρ²), all flat."""
    rho, rest, half = flat
    partial = rho[jk] - rho[ij] * rho[ik]
    det = rest[ij] * rest[ik] - partial * partial
    return 0.5 * det.log() - half[ij] - half[ik] - half[jk]
