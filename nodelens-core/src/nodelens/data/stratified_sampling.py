"""Seeded draws of samples with the class fractions of the whole.

Drawn by hand: scikit-learn draws other samples for the same seed, and every score would change.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw_stratified(targets: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the indices of `count` drawn samples and of all other samples, in random order.

    Of every class the fraction of the whole is drawn, to within one sample (the largest
    remainders are rounded up). `targets` is ``(samples,)``, `count` at most the samples there are.
    """
    return _draw(targets, proportional_counts(torch.bincount(targets), count), generator)


def draw_balanced(targets: Tensor, per_class: int, generator: Generator) -> Tensor:
    """Return the indices of `per_class` samples of every class that occurs, in random order."""
    quota = torch.full((int(targets.max()) + 1,), per_class)
    return _draw(targets, quota, generator)[0]


def proportional_counts(counts: Tensor, total: int) -> Tensor:
    """Return the samples of each class, in proportion to `counts`; they add up to `total`."""
    whole = counts * total // counts.sum()
    remainder = counts * total % counts.sum()
    left = total - int(whole.sum())
    whole[remainder.argsort(descending=True, stable=True)[:left]] += 1
    return whole


def _draw(targets: Tensor, quota: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(targets), generator=generator)
    mixed = targets[order]
    chosen = _rank_in_class(mixed) < quota[mixed]
    return order[chosen], order[~chosen]


def _rank_in_class(targets: Tensor) -> Tensor:
    """Return for each sample the number of earlier samples of its class."""
    by_class = targets.argsort(stable=True)
    counts = torch.bincount(targets)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(targets)
    rank[by_class] = torch.arange(len(targets)) - starts[targets[by_class]]
    return rank
