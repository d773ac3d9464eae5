"""Correlations between nodes from samples, of all samples or by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nodelens_metrics.mathematics.blocks import of_nodes
from nodelens_metrics.mathematics.tiles import Correlations, FactoredCorrelations, correlations_of

if TYPE_CHECKING:
    from torch import Tensor

ROOM = 2**23
"""Entries of matrices that are computed once, instead of products at every read."""

Terms = Sequence[tuple[float, Correlations]]
"""Correlations of the same nodes, each with its weight in their mean."""


def factored(values: Tensor) -> FactoredCorrelations:
    """Return the correlations between the nodes of samples ``(samples, nodes)``."""
    from nodelens_metrics.mathematics.estimators import standardised

    count = values.new_tensor(float(len(values)), dtype=values.dtype)
    return FactoredCorrelations(standardised(values), count)


def factored_nodes(values: Tensor, components: int) -> Correlations:
    """Return the correlations between the nodes of samples ``(samples, nodes · components)``."""
    return of_nodes(factored(values), values.double().std(0, correction=0), components)


def within_classes(
    values: Tensor, labels: Tensor, least: int, *, over_all: float = 0.0, components: int = 1
) -> Terms:
    """Return the correlations within each class, weighted by the fractions of the classes.

    Classes with fewer than `least` samples are left out. With a weight `over_all` the correlations
    over all remaining samples are the last. Raises `NotApplicableError` with fewer than two such
    classes.
    """
    from nodelens_metrics.mathematics.estimators import class_samples, one_hot
    from nodelens_metrics.mathematics.labelled_rows import settled

    parts = [(fraction, settled(rows)) for fraction, rows in class_samples(values, labels, least)]
    if over_all:
        parts.append((over_all, values[one_hot(labels, least)[0]]))
    small = len(parts) * values.shape[1] ** 2 <= ROOM
    return [
        (
            fraction,
            of_nodes(
                correlations_of(rows) if small else factored(rows),
                rows.double().std(0, correction=0),
                components,
            ),
        )
        for fraction, rows in parts
    ]


def mean_strengths(terms: Terms) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of every tile and the weighted mean of |ρ|, ``(rows, nodes)``.

    All correlations must be of one kind, so that their tiles match.
    """
    for tiles in zip(*(rho.tiles() for _, rho in terms), strict=True):
        weighted = zip(terms, tiles, strict=True)
        total = sum(weight * tile.abs_() for (weight, _), (_, tile) in weighted)
        yield tiles[0][0], total
