"""The stability of the top nodes: their overlap between two halves of the samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from nodelens.errors import ENDINGS, CaptureError, NotApplicableError
from nodelens.scoring.metric_results import checked_values, fault
from nodelens.scoring.scorer import ScoringContext, rows_of, view_of
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup
    from nodelens.interfaces.metric import Metric

SPLITS = 16
"""The number of ways to split the folds into halves that are tried; eight folds have 35."""


@frozen
class Overlap:
    """The mean overlap of two top sets over several splits, and the smallest and the largest.

    0 where the halves have no top node in common, 1 where all are.
    """

    mean: float
    low: float
    high: float


def overlap(context: ScoringContext, name: str, top: float) -> Overlap | None:
    """Return the overlap of the top nodes of every group by one metric between halves of the folds.

    `top` is the fraction of the nodes. The overlap is the Jaccard index of the two sets,
    |A ∩ B| / |A ∪ B|, nodes of all groups counted together. Each half holds half of the samples:
    the top nodes of all samples are more stable than this. None where fewer than two folds hold
    samples, or no group has a score.
    """
    metric = context.request.metrics[name]
    splits = _splits(rows_of(context, metric) > 0)
    found = [_shared(context, name, top, half) for half in splits]
    overlaps = [both / either for both, either in found if either]
    if not overlaps:
        return None
    return Overlap(sum(overlaps) / len(overlaps), min(overlaps), max(overlaps))


def _splits(used: Tensor) -> list[Tensor]:
    """Return halves of the folds that hold samples, as masks ``(folds,)``; drawn once for all."""
    folds = used.nonzero().flatten()
    random = generator(0, "halves", len(folds))
    halves: dict[tuple[bool, ...], Tensor] = {}
    for _ in range(SPLITS if len(folds) > 1 else 0):
        half = torch.zeros_like(used)
        half[folds[torch.randperm(len(folds), generator=random)][: len(folds) // 2]] = True
        other = used & ~half
        halves.setdefault(min(tuple(half.tolist()), tuple(other.tolist())), half)
    return list(halves.values())


def _shared(context: ScoringContext, name: str, top: float, half: Tensor) -> tuple[int, int]:
    """Return the number of top nodes in both halves, and in either, over all groups."""
    metric = context.request.metrics[name]
    used = rows_of(context, metric) > 0
    both = either = 0
    for entry in context.request.capture.plan.entries:
        if entry.group.part_of:
            continue
        try:
            values = _halves(context, metric, entry.group, (half, used & ~half))
        except NotApplicableError:
            continue
        except ENDINGS:
            raise
        except BaseException as error:  # plugin code
            raise CaptureError(
                f"capture.stop_when: {name} of {entry.name} failed: {fault(error)}"
            ) from error
        tops = [_top(each, metric.info.higher_is_better, top) for each in values]
        both += len(tops[0] & tops[1])
        either += len(tops[0] | tops[1])
    return both, either


def _halves(
    context: ScoringContext, metric: Metric, group: ChannelGroup, halves: Iterable[Tensor]
) -> list[Tensor]:
    """Return the values of a metric on each half of the folds."""
    with context.kept:
        return [
            checked_values(metric.score(view_of(context, metric, group, keep)), group.width)
            for keep in halves
        ]


def _top(values: Tensor, higher_is_better: bool | None, top: float) -> set[int]:
    importance = -values if higher_is_better is False else values
    count = max(1, round(top * len(values)))
    order = importance.double().argsort(descending=True, stable=True)
    return set(order[:count].tolist())
