"""Importance of the nodes of a final response layer, from samples of their activations."""

from __future__ import annotations

import torch
from torch import Tensor

from nodelens_metrics.mathematics.estimators import average_ranks

MIXING = 0.5
"""Weight of the spread relative to the correlation."""

REACH = 0.9
"""Factor of one more step along a path, as a fraction of the largest factor that converges."""


def infinite_feature_selection(values: Tensor) -> Tensor:
    """Return the energy of all paths through each node, ``(nodes,)``, of ``(samples, nodes)``.

    Nodes are joined by A_ij = α σ_ij + (1 − α)(1 − |ρ_ij|), with σ_ij the larger of two standard
    deviations, scaled to 0 … 1 over all pairs, and ρ_ij Spearman's correlation (0 with a constant
    node); the energy is the row sum of Σ_l≥1 (rA)^l = (I − rA)⁻¹ − I, r = 0.9 / ρ(A), α = ½. Roffo,
    Melzi & Cristani 2015, Infinite Feature Selection, ICCV, and its published code. 0 where no two
    nodes differ.
    """
    spread = values.std(0, correction=0)
    larger = spread.unsqueeze(1).maximum(spread)
    span = larger.max() - larger.min()
    scaled = (larger - larger.min()) / span if span > 0 else larger * 0.0
    joined = MIXING * scaled + (1.0 - MIXING) * (1.0 - _spearman(values).abs())
    radius = torch.linalg.eigvalsh(joined).abs().max()
    if not radius > 0:
        return spread * 0.0
    identity = torch.eye(len(spread), dtype=values.dtype, device=values.device)
    energy: Tensor = torch.linalg.inv(identity - REACH / radius * joined).sum(1) - 1.0
    return energy


def _spearman(values: Tensor) -> Tensor:
    """Return rank correlations, ``(nodes, nodes)``; 0 with a constant, 1 on the diagonal."""
    ranks = average_ranks(values)
    centred = ranks - ranks.mean(0)
    norm = centred.norm(dim=0)
    unit = centred / norm.where(norm > 0, 1.0)
    rho: Tensor = (unit.T @ unit).clamp(-1.0, 1.0)
    return rho.fill_diagonal_(1.0)
