"""Standard errors and biases from folds."""

from __future__ import annotations

import torch
from torch import Tensor


def jackknife_se(estimate: Tensor, without: Tensor, sizes: Tensor) -> Tensor:
    """Return the standard error of `estimate`, ``(nodes,)``, by leaving out one fold at a time.

    `without`, ``(folds, nodes)``, holds the estimates without each fold and `sizes`, ``(folds,)``,
    the number of samples in each. Folds of unequal size are weighted as in the delete-m_j jackknife
    (Busing, Meijer & van der Leeden, Statistics and Computing 9, 1999, eq. 6); with equal folds
    this is the ordinary delete-one-group jackknife. At least two folds must hold samples.
    """
    h = _parts(estimate, sizes)
    centre = estimate - jackknife_bias(estimate, without, sizes)
    pseudo = h * estimate - (h - 1) * without
    variance = ((pseudo - centre).square() / (h - 1)).sum(0) / len(sizes)
    return torch.sqrt(variance)


def jackknife_bias(estimate: Tensor, without: Tensor, sizes: Tensor) -> Tensor:
    """Return the bias of `estimate`, ``(nodes,)``, as leaving out folds shows it (ibid., eq. 5)."""
    h = _parts(estimate, sizes)
    return ((1 - 1 / h) * without).sum(0) - (len(sizes) - 1) * estimate


def _parts(estimate: Tensor, sizes: Tensor) -> Tensor:
    """Return the samples of all folds over those of each, ``(folds, 1)``."""
    return (sizes.sum() / sizes).to(estimate.dtype).unsqueeze(-1)
