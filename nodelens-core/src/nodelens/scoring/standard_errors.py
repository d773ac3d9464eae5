"""Standard errors of scores, or the reason why scores have none that an interval could be made of.

An interval is given where it covers the truth about as often as it says, as measured on real
activations (``projects/benchmarks/coverage.py``). Else there is none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from nodelens.scoring.jackknife import jackknife_bias, jackknife_se

if TYPE_CHECKING:
    from nodelens.interfaces.metric import Metric

FEWEST_ROWS = 8
"""The number of samples that an interval needs: of two or three, the error may well be zero."""

POSITIONS_PER_NODE = 10
"""The positions for each node from which covariances and their inverses have little bias."""

PROBE_NOISE = 0.2
"""The standard error that random probes may leave, in units of the spread between nodes.

Ranks then have a correlation of about 0.98 with those of endless probes.
"""

FEW_EFFECTIVE_ROWS = 10
"""The effective number of rows under which a sum of heavy tails is told to be of few rows."""

_ROUNDING = 1e-9

_SHARE = 0.1
"""The share of the nodes beyond which a bias is told."""


@frozen(eq=False)
class StandardErrors:
    """The standard errors of the scores of a metric on a group, ``(nodes,)``.

    Attributes:
        se: the errors, None where there are none.
        folds: the number of folds that they come from.
        no_interval: the reason where there are none.
        warnings: what there is to say of the errors that are given.
    """

    se: Tensor | None = None
    folds: int = 0
    no_interval: str = ""
    warnings: tuple[str, ...] = ()


def reason_against(metrics: list[Metric], rows: Tensor) -> str:
    """Return why a metric has no interval, given it and all that it depends on; else nothing.

    `rows`, ``(folds,)``, is the number of samples in each fold.
    """
    if not any(metric.statistics for metric in metrics):
        return "weights alone have no sampling error"
    declared = [metric.info.no_interval for metric in metrics if metric.info.no_interval]
    if declared:
        return declared[0]
    if (rows > 0).sum() < 2:
        return "the samples are in fewer than two folds"
    if rows.sum() < FEWEST_ROWS:
        return f"an interval needs {FEWEST_ROWS} samples, there are {int(rows.sum())}"
    return ""


def standard_errors(values: Tensor, without: Tensor, sizes: Tensor) -> StandardErrors:
    """Return the standard errors of values, ``(nodes,)``, with a word about their bias.

    `without`, ``(folds, nodes)``, holds the values without each fold, `sizes` the folds' samples.
    The values are not corrected: on real activations the correction made as many errors larger.
    There are none where the bias is the larger one at most nodes.
    """
    se = jackknife_se(values, without, sizes)
    bias = jackknife_bias(values, without, sizes).abs()
    biased = bias > (1.0 + _ROUNDING) * se + _ROUNDING * values.abs().max()
    count, nodes = int(biased.sum()), len(values)
    if 2 * count > nodes:
        return StandardErrors(
            no_interval=f"the bias of so few samples is larger than the standard error at {count} "
            f"of {nodes} nodes"
        )
    told = f"the bias is larger than the standard error at {count} of {nodes} nodes"
    return StandardErrors(se, len(sizes), warnings=(told,) if count > _SHARE * nodes else ())


def few_rows(values: Tensor, se: Tensor | None) -> str:
    """Return a warning where few rows make most of a sum of squares; else nothing.

    The effective number of rows is (Σr)² / Σr² ≈ (value / se)². The largest row makes at least one
    part in so many of the sum, and no more than the root of that.
    """
    if se is None:
        return ""
    rows = (values / se).square().where(se > 0, torch.inf)
    few = rows < FEW_EFFECTIVE_ROWS
    count, least = int(few.sum()), float(rows.min())
    if count <= _SHARE * len(values):
        return ""
    return (
        f"few rows make most of the value at {count} of {len(values)} nodes: fewer than "
        f"{FEW_EFFECTIVE_ROWS} effective rows, {least:.1f} at least, of which the largest makes "
        f"{100 / max(least, 1.0):.0f} to {100 / max(least, 1.0) ** 0.5:.0f} %"
    )


def few_probes(values: Tensor, se: Tensor | None) -> str:
    """Return a warning where errors of a score from random probes hide the ranks; else nothing."""
    if se is None or len(values) < 2:
        return ""
    share = float(se.square().mean().sqrt() / values.std().clamp(min=torch.finfo(se.dtype).tiny))
    if share <= PROBE_NOISE or not se.any():
        return ""
    more = math.ceil((share / PROBE_NOISE) ** 2)
    return (
        f"standard errors at the nodes are {share:.0%} of the spread between them, so that ranks "
        f"are uncertain; {PROBE_NOISE:.0%} takes {more} times as many probes, and rows where the "
        "errors are of the rows; another seed draws the probes again"
    )


def few_positions(positions: float, width: int) -> str:
    """Return a warning where a covariance of `width` nodes is of few positions; else nothing."""
    if positions >= POSITIONS_PER_NODE * width:
        return ""
    return (
        f"covariances are biased by few positions at {width} nodes: {positions:,.0f}, where "
        f"{POSITIONS_PER_NODE} for each node would be enough"
    )
