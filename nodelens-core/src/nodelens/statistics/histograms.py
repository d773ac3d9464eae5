"""Histograms of the values of a site, over many orders of magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State

LOWEST, HIGHEST = -24, 16
"""Powers of two between which the bins lie: the smallest float16 above zero, and the largest."""

_PATTERNS = 2**15
"""The number of bfloat16 patterns without a sign; they are ordered as the numbers are."""


@frozen(eq=False)
class HistogramSummary:
    """Counts by magnitude and sign, float64.

    `edges`, ``(bins + 1,)``, are the ends of the bins of |a|; `positive` and `negative` are
    ``(nodes, bins)`` and `zeros` ``(nodes,)``. Values beyond the edges are in the end bins.
    """

    count: Tensor
    edges: Tensor
    positive: Tensor
    negative: Tensor
    zeros: Tensor

    def quantile(self, q: float) -> Tensor:
        """Return the value that a fraction `q` of the samples lies below, ``(nodes,)``.

        Values inside a bin are interpolated in log |a|; a node without samples has 0.
        """
        import torch

        zero = self.zeros.unsqueeze(-1)
        counts = torch.cat([self.negative.flip(-1), zero, self.positive], dim=-1)
        cell, within = _cell_at(counts, q)
        bins = self.negative.shape[-1]
        side = (cell > bins).double() - (cell < bins).double()
        number = (cell - bins).abs() - 1
        within = within.where(side > 0, 1.0 - within)
        return (side * self._inside(number.clamp(min=0), within)).where(self.count > 0, 0.0)

    def magnitude_quantile(self, q: float) -> Tensor:
        """Return the quantile of |a|, ``(nodes,)``."""
        import torch

        counts = torch.cat([self.zeros.unsqueeze(-1), self.positive + self.negative], dim=-1)
        cell, within = _cell_at(counts, q)
        some = (cell > 0) & (self.count > 0)
        return self._inside((cell - 1).clamp(min=0), within).where(some, 0.0)

    def entropy(self) -> Tensor:
        """Return the entropy of the counts over bins, signs and zero in nats, ``(nodes,)``."""
        import torch

        counts = torch.cat([self.negative, self.zeros.unsqueeze(-1), self.positive], dim=-1)
        p = counts / counts.sum(-1, keepdim=True).clamp(min=1.0)
        entropy: Tensor = torch.special.entr(p).sum(-1)
        return entropy

    def _inside(self, number: Tensor, within: Tensor) -> Tensor:
        low, high = self.edges.log()[number], self.edges.log()[number + 1]
        return (low + within * (high - low)).exp()


def _cell_at(counts: Tensor, q: float) -> tuple[Tensor, Tensor]:
    """Return the cell of ``(nodes, cells)`` that holds a quantile, and the place inside, 0 to 1."""
    cumulative = counts.cumsum(-1)
    wanted = q * cumulative[..., -1:]
    passed = (cumulative < wanted) | (cumulative == 0)
    cell = passed.sum(-1, keepdim=True).clamp(max=counts.shape[-1] - 1)
    inside = counts.gather(-1, cell)
    before = cumulative.gather(-1, cell) - inside
    within = ((wanted - before) / inside.clamp(min=1.0)).clamp(0.0, 1.0)
    return cell.squeeze(-1), within.squeeze(-1)


@renamed_arguments(tap="reads")
@frozen
class LogHistogram:
    """Counts of every node's values in bins of equal width in log |a|, by sign (block B12).

    The edges are rounded to bfloat16, so that the leading 16 bits of a value give the exact bin.

    Attributes:
        reads: the read point.
        bins: bins of |a| between 2⁻²⁴ and 2¹⁶, for either sign.
    """

    reads: ReadPoint = "activation"
    bins: int = field(default=64, validator=[validators.ge(2), validators.le(1024)])
    requires: ClassVar[frozenset[Need]] = frozenset()

    def floats(self, layout: Layout) -> int:
        return layout.folds * (layout.width * self._cells + 1)

    @property
    def _cells(self) -> int:
        return 2 * self.bins + 1

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        return {"count": zeros(layout), "cells": zeros(layout, layout.width, self._cells)}

    def update(self, state: State, reading: Reading) -> None:
        import torch

        from nodelens.statistics.rows import add_rows, row_counts

        add_rows(state["count"], row_counts(reading), reading.fold)
        table = self._table().to(reading.values.device)
        nodes, cells = state["cells"].shape[1:]
        first = torch.arange(nodes, device=table.device) * cells
        for fold in set(reading.fold.tolist()):
            rows = reading.fold == fold
            values = reading.values[rows]
            values = values.flatten(0, 1) if reading.valid is None else values[reading.valid[rows]]
            for part in torch.split(values, max(1, 2**19 // nodes)):
                place = first + table[_pattern(part)]
                found = torch.bincount(place.flatten(), minlength=nodes * cells)
                state["cells"][fold] += found.view(nodes, cells)

    def _edges(self) -> Tensor:
        """Return the edges, ``(bins + 1,)`` bfloat16."""
        import torch

        return torch.linspace(LOWEST, HIGHEST, self.bins + 1, dtype=torch.float64).exp2().bfloat16()

    def _table(self) -> Tensor:
        """Return the cell of every bfloat16 pattern: zero, positive bins, negative bins."""
        import torch

        inner = self._edges()[1:-1].view(torch.int16).long()
        number = torch.bucketize(torch.arange(_PATTERNS), inner, right=True)
        positive, negative = number + 1, number + 1 + self.bins
        positive[0] = negative[0] = 0
        return torch.cat([positive, negative])

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> HistogramSummary:
        cells = state["cells"][keep].sum(0)
        zeros, positive, negative = cells.tensor_split([1, 1 + self.bins], dim=-1)
        edges = self._edges().to(cells)
        return HistogramSummary(
            state["count"][keep].sum(), edges, positive, negative, zeros.squeeze(-1)
        )


def _pattern(values: Tensor) -> Tensor:
    """Return the leading 16 bits of float32 numbers as integers; −0 is 0."""
    import torch

    return (values.float().contiguous().view(torch.int32) >> 16).long() & 0xFFFF
