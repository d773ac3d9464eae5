"""Options that several metrics have, with bounds and documentation."""

from __future__ import annotations

from typing import Any

from attrs.validators import ge, gt, in_, le
from attrs.validators import optional as or_none

from nodelens.interfaces.statistic import OUTPUTS
from nodelens.scoring.shared_options import option
from nodelens_metrics.mathematics.second_moments import NOISE

SAMPLES = 2048
"""Number of sampled rows for estimators that need single rows."""


def noise() -> Any:
    """Relative variance of the noise that keeps duplicates apart."""
    return option(
        NOISE,
        ge(1e-12),
        doc="relative variance of the independent noise of every node, and of a target; decides "
        "the score of exact duplicates; at least 1e-12, the resolution of float64.",
    )


def sketch(**beside: Any) -> Any:
    """Rank of a sketch instead of the covariance."""
    return option(
        None,
        or_none(ge(2)),
        doc="rank of the sketch that correlations are estimated from; None computes them exactly.",
        examples=[16],
        beside=beside,
    )


def samples(what: str = "rows", default: int = SAMPLES, example: int = 24) -> Any:
    """Size of a sample of rows or positions."""
    return option(default, ge(8), doc=f"number of {what} that are sampled.", examples=[example])


def top(default: int | None = None) -> Any:
    """Number of partners that an average is taken over."""
    return option(
        default,
        or_none(ge(1)),
        doc="average the largest `top` partners only; 1 is the largest, None averages all.",
    )


def correct_bias(default: bool = False) -> Any:
    """Whether the bias of few samples is subtracted."""
    return option(
        default, doc="subtract the mean estimate from as many independent Gaussian samples."
    )


def size(default: int = 3) -> Any:
    """Number of nodes in a set."""
    return option(default, ge(3), doc="number of nodes in a set, 3 or more.")


def sets() -> Any:
    """Number of sets for each node."""
    return option(256, ge(1), doc="number of sets of each node that are averaged.", examples=[5])


def target() -> Any:
    """Output number that nodes are compared with."""
    return option(
        "margin",
        in_(OUTPUTS),
        doc="number computed from the output: margin, nll (−log p of the label) or entropy.",
    )


def producer() -> Any:
    """Name of one of several weights that write a node."""
    return option(
        None,
        doc="name of the weight to read, or the last parts of its path; None takes the only one "
        "that writes the nodes.",
        examples=["layer"],
    )


def core(**beside: Any) -> Any:
    """Fraction of the nodes that are supernodes."""
    return option(
        0.01,
        gt(0.0),
        le(1.0),
        doc="fraction of the nodes that are supernodes, at least one node.",
        beside=beside,
    )


def steps() -> Any:
    """Number of points on a path."""
    return option(20, ge(2), doc="points on the path, 2 or more; one gradient each.", examples=[4])


def baseline() -> Any:
    """Start of a path."""
    return option(
        "zero",
        in_(("zero", "mean")),
        doc="``zero``, or ``mean``: every image's mean colour, every text's mean embedding.",
    )
