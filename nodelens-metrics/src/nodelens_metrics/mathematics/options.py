"""Options that many metrics have, each with its bounds and its documentation in one place."""

from __future__ import annotations

from typing import Any

from attrs.validators import ge, gt, in_, le
from attrs.validators import optional as or_none

from nodelens.interfaces.statistic import OUTPUTS
from nodelens.scoring.shared_options import option
from nodelens_metrics.mathematics.second_moments import NOISE

SAMPLES = 2048
"""Rows that are sampled for estimators that need them one by one."""


def noise() -> Any:
    """Relative variance of the noise that keeps duplicates apart."""
    return option(
        NOISE,
        ge(1e-12),
        doc="relative variance of the independent noise given to every node, and to a target; sets "
        "what exact duplicates get; at least 1e-12, what float64 resolves.",
    )


def sketch(**beside: Any) -> Any:
    """Rank of a sketch in place of the covariance."""
    return option(
        None,
        or_none(ge(2)),
        doc="rank of the sketch that correlations are estimated from; None takes them exact.",
        examples=[16],
        beside=beside,
    )


def samples(what: str = "rows", default: int = SAMPLES, example: int = 24) -> Any:
    """Size of a sample of rows or positions."""
    return option(default, ge(8), doc=f"{what} that are sampled.", examples=[example])


def top(default: int | None = None) -> Any:
    """Number of partners that an average is taken over."""
    return option(
        default,
        or_none(ge(1)),
        doc="average the largest `top` partners only; 1 is the largest, None averages all.",
    )


def correct_bias(default: bool = False) -> Any:
    """Whether what few samples give too much is subtracted."""
    return option(
        default, doc="subtract what independent Gaussian samples, as few as these, give on average."
    )


def size(default: int = 3) -> Any:
    """Size of a set of nodes."""
    return option(default, ge(3), doc="nodes in a set, 3 or more.")


def sets() -> Any:
    """Number of sets for each node."""
    return option(256, ge(1), doc="sets of each node that are averaged.", examples=[5])


def target() -> Any:
    """Number about the output that nodes are compared with."""
    return option(
        "margin",
        in_(OUTPUTS),
        doc="number about the output: margin, nll (−log p of the label) or entropy.",
    )


def producer() -> Any:
    """Name of one of several weights that write a node."""
    return option(
        None,
        doc="name of the weight that is asked about, or the last parts of its path; None takes the "
        "only one that writes the nodes.",
        examples=["layer"],
    )


def core(**beside: Any) -> Any:
    """Fraction of the nodes that are supernodes."""
    return option(
        0.01,
        gt(0.0),
        le(1.0),
        doc="share of the nodes that are supernodes; at least one is.",
        beside=beside,
    )


def steps() -> Any:
    """Number of points on a path."""
    return option(20, ge(2), doc="points of the path, 2 or more; one gradient each.", examples=[4])


def baseline() -> Any:
    """Start of a path."""
    return option(
        "zero",
        in_(("zero", "mean")),
        doc="``zero``, or ``mean``: every image's mean colour, every text's mean embedding.",
    )
