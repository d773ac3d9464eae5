"""Statistic of second moments of nodes and output numbers on common samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.statistic import OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State, Statistic


@frozen
class TargetGram:
    """Sums of products of all pairs of nodes and of nodes with margin, −log p and entropy.

    The samples are those of `TargetMoments`: positions where each has its own prediction (tokens),
    else rows, because the positions of an image share one prediction. Correlations between pixels
    and correlations with an image's margin do not belong to one distribution. The summary is the
    summary of a `Gram`, or of a `GramSketch`, of ``nodes + 3`` nodes, the outputs last; of nodes of
    several components every component counts as a node.

    Attributes:
        sketch: rank of a sketch that replaces the whole matrix.
    """

    sketch: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    reads: ClassVar[ReadPoint] = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"outputs", "whole_rows", "quadratic"})

    def _inner(self) -> Statistic[Any]:
        from nodelens_metrics.mathematics.second_moments import second_moments

        return second_moments(self.sketch)

    def floats(self, layout: Layout) -> int:
        """Size of a state: a matrix of three nodes more than the group has."""
        return self._inner().floats(_with_outputs(layout))

    def start(self, layout: Layout) -> State:
        return self._inner().start(_with_outputs(layout))

    def update(self, state: State, reading: Reading) -> None:
        """Add the products of nodes and outputs."""
        self._inner().update(state, _samples(reading))

    def merge(self, state: State, other: State) -> None:
        self._inner().merge(state, other)

    def summary(self, state: State, keep: Tensor) -> Any:
        """Return the moments of nodes and outputs over the kept folds."""
        return self._inner().summary(state, keep)


def _with_outputs(layout: Layout) -> Layout:
    return evolve(layout, width=layout.width + len(OUTPUTS), components=1)


def _samples(reading: Reading) -> Reading:
    """Return a reading whose last nodes are the outputs, by position or by row."""
    import torch

    from nodelens.statistics.rows import upcast
    from nodelens.statistics.targets import labelled_samples

    values, outputs, counted = labelled_samples(reading)
    values = upcast(values)
    joined = torch.cat([values, outputs.to(values.dtype)], dim=2)
    return evolve(
        reading,
        values=joined.masked_fill(~counted.unsqueeze(-1), 0.0),
        gradient=None,
        outputs=None,
        valid=counted,
        pivot=None,
        components=1,
        shared={},
    )
