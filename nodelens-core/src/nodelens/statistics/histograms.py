"""Histograms of the values of each node, over the orders of magnitude where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import evolve, field, frozen, validators

from nodelens.errors import CaptureError, NotApplicableError
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State

OCTAVES = 40
"""The powers of two that a node's bins span, up to the bin of its largest |a|."""

_LOWEST, _SPANS = -184, 8
"""The lowest edge of all bins there are, a power of two, and how many times `OCTAVES` they span."""

_NORMAL = 2.0**-126
"""The smallest number with all its bits in float32 and bfloat16."""

_PATTERNS = 2**15
"""The number of bfloat16 patterns without a sign; they are ordered as the numbers are."""


@frozen(eq=False)
class HistogramSummary:
    """Counts by magnitude and sign, float64.

    Every node has its own bins of |a|: the last one holds the node's largest value.

    Attributes:
        count: the number of samples.
        cells: counts of positive and of negative values, ``(nodes, 2, 1 + bins)``; the first is of
            all values that are smaller than the bins.
        zeros: counts of zeros, ``(nodes,)``.
        top: the number of each node's last bin, ``(nodes,)``.
        grid: the edges of all bins that a node can have.
    """

    count: Tensor
    cells: Tensor
    zeros: Tensor
    top: Tensor
    grid: Tensor

    @property
    def positive(self) -> Tensor:
        """Counts of positive values by bin, ``(nodes, bins)``."""
        return self.cells[:, 0, 1:]

    @property
    def negative(self) -> Tensor:
        """Counts of negative values by bin, ``(nodes, bins)``."""
        return self.cells[:, 1, 1:]

    @property
    def below(self) -> Tensor:
        """Counts of values of either sign that are smaller than the bins, ``(nodes,)``."""
        return self.cells[:, :, 0].sum(-1)

    @property
    def edges(self) -> Tensor:
        """The ends of each node's bins of |a|, ``(nodes, bins + 1)``."""
        import torch

        places = torch.arange(self.cells.shape[-1], device=self.top.device)
        return self.grid[self.top.long().unsqueeze(-1) - (len(places) - 1) + places]

    def quantile(self, q: float) -> Tensor:
        """Return the value that a fraction `q` of the samples lies below, ``(nodes,)``.

        Values inside a bin are interpolated in log |a|; a node without samples has 0.

        Raises:
            NotApplicableError: where it is smaller than the bins of its node.
        """
        import torch

        positive, negative = self.cells.unbind(1)
        counts = torch.cat([negative.flip(-1), self.zeros.unsqueeze(-1), positive], dim=-1)
        cell, within = _cell_at(counts, q)
        away = cell - positive.shape[-1]
        within = within.where(away > 0, 1.0 - within)
        return away.sign() * self._inside(away.abs(), within)

    def magnitude_quantile(self, q: float) -> Tensor:
        """Return the quantile of |a|, ``(nodes,)``; raises as `quantile` does."""
        import torch

        counts = torch.cat([self.zeros.unsqueeze(-1), self.cells.sum(1)], dim=-1)
        return self._inside(*_cell_at(counts, q))

    def share_below(self, bound: Tensor) -> Tensor:
        """Return the fraction of samples with |a| up to a bound of each node, ``(nodes,)``.

        Raises:
            NotApplicableError: where a bound and values are smaller than the bins of their node.
        """
        edges, counts, small = self.edges.log(), self.positive + self.negative, self.below
        inside = ((bound.log().unsqueeze(1) - edges[:, :-1]) / edges.diff()).clamp(0.0, 1.0)
        low = bound < self.edges[:, 0]
        _refuse(low & (bound > 0.0) & (small > 0.0))
        found = self.zeros + small.where(~low, 0.0) + (counts * inside).sum(1)
        return found / self.count.clamp(min=1.0)

    def entropy(self) -> Tensor:
        """Return the entropy of the counts over bins, signs and zero in nats, ``(nodes,)``."""
        import torch

        counts = torch.cat([self.cells.flatten(1), self.zeros.unsqueeze(-1)], dim=-1)
        p = counts / counts.sum(-1, keepdim=True).clamp(min=1.0)
        entropy: Tensor = torch.special.entr(p).sum(-1)
        return entropy

    def together(self) -> HistogramSummary:
        """Return the histogram of the values of all nodes, as of one node."""
        top = self.top.amax(0, keepdim=True)
        cells = _lowered(self.cells, top - self.top).sum(0, keepdim=True)
        return evolve(self, cells=cells, zeros=self.zeros.sum(0, keepdim=True), top=top)

    def _inside(self, number: Tensor, within: Tensor) -> Tensor:
        """Return the value at a place in a bin; bin 0 is zero, bin 1 what is below the others."""
        known = self.count > 0
        _refuse((number == 1) & known)
        edges, lower = self.edges.log(), (number - 2).clamp(min=0).unsqueeze(-1)
        low, high = (edges.gather(-1, each).squeeze(-1) for each in (lower, lower + 1))
        return (low + within * (high - low)).exp().where((number > 0) & known, 0.0)


def _refuse(unknown: Tensor) -> None:
    nodes = unknown.nonzero().flatten().tolist()
    if nodes:
        raise NotApplicableError(
            f"nodes {nodes[:5]} have the value that is asked for more than {OCTAVES} powers of two "
            "under their largest |a|, below all bins"
        )


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


def _lowered(cells: Tensor, by: Tensor) -> Tensor:
    """Return the counts ``(..., nodes, 2, 1 + bins)`` for bins that lie higher by some numbers."""
    import torch

    if not by.any():
        return cells
    places = torch.arange(cells.shape[-1], device=by.device) - by.long()[..., None, None]
    return torch.zeros_like(cells).scatter_add_(-1, places.clamp(min=0).expand_as(cells), cells)


@renamed_arguments(tap="reads")
@frozen
class LogHistogram:
    """Counts of every node's values in bins of equal width in log |a|, by sign (block B12).

    The bins end at the one of the node's largest |a|, wherever that is, and move up with it: they
    are those of all values, in any order. Values are read as float32.
    The edges are rounded to bfloat16, so that the leading 16 bits of a value give the exact bin.

    Attributes:
        reads: the read point.
        bins: bins of the 40 powers of two up to a node's largest |a|, for either sign.
    """

    reads: ReadPoint = "activation"
    bins: int = field(default=64, validator=[validators.ge(2), validators.le(1024)])
    requires: ClassVar[frozenset[Need]] = frozenset()

    def floats(self, layout: Layout) -> int:
        return layout.folds * (layout.width * (2 * self.bins + 4) + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        return {
            "count": zeros(layout),
            "cells": zeros(layout, layout.width, 2, 1 + self.bins),
            "zeros": zeros(layout, layout.width),
            "top": zeros(layout, layout.width) + self.bins,
        }

    def update(self, state: State, reading: Reading) -> None:
        import torch

        from nodelens.statistics.rows import add_rows, row_counts

        add_rows(state["count"], row_counts(reading), reading.fold)
        table = self._table().to(reading.values.device)
        nodes = reading.values.shape[-1]
        for fold in set(reading.fold.tolist()):
            rows = reading.fold == fold
            values = reading.values[rows]
            values = values.flatten(0, 1) if reading.valid is None else values[reading.valid[rows]]
            for part in torch.split(values, max(1, 2**19 // nodes)) if len(values) else ():
                self._add(state, fold, self._numbers(_single(part), table), part < 0)

    def _numbers(self, values: Tensor, table: Tensor) -> Tensor:
        """Return the number of each value's bin; those that bfloat16 lacks are read raised."""
        number = table[_pattern(values)]
        tiny = (values != 0) & (values.abs() < _NORMAL)
        if not tiny.any():
            return number
        return number.where(~tiny, table[_pattern(values * 2.0**OCTAVES)] - self.bins)

    def _add(self, state: State, fold: int, number: Tensor, negative: Tensor) -> None:
        """Add samples to a fold by the numbers of their bins, ``(samples, nodes)``, 0 for zero."""
        import torch

        self._raise_top(state, fold, number.amax(0))
        size = 1 + self.bins
        cell = (number - (state["top"][fold].long() - self.bins)).clamp(min=0) + size * negative
        cell = cell.where(number > 0, 2 * size)
        nodes = cell.shape[1]
        first = torch.arange(nodes, device=cell.device) * (2 * size + 1)
        length = nodes * (2 * size + 1)
        found = torch.bincount((first + cell).flatten(), minlength=length).view(nodes, -1)
        state["zeros"][fold] += found[:, -1]
        state["cells"][fold] += found[:, :-1].view(nodes, 2, size)

    def _raise_top(self, state: State, fold: int, number: Tensor) -> None:
        top = state["top"][fold]
        raised = top.maximum(number.to(top))
        state["cells"][fold] = _lowered(state["cells"][fold], raised - top)
        state["top"][fold] = raised

    def _grid(self) -> Tensor:
        """Return the edges of all bins there are, float64 that bfloat16 holds, where it can."""
        import torch

        high = _LOWEST + _SPANS * OCTAVES
        exact = torch.linspace(_LOWEST, high, _SPANS * self.bins + 1, dtype=torch.float64).exp2()
        normal = (exact >= 2.0**-126) & (exact <= 2.0**127)
        return exact.bfloat16().double().where(normal, exact)

    def _table(self) -> Tensor:
        """Return the number of the bin of every bfloat16 pattern without a sign."""
        import torch

        values = torch.arange(_PATTERNS, dtype=torch.int16).view(torch.bfloat16).double()
        return torch.bucketize(values, self._grid()[:-1], right=True)

    def merge(self, state: State, other: State) -> None:
        top = state["top"].maximum(other["top"].to(state["top"].device))
        cells = [_lowered(each["cells"], top - each["top"]) for each in (state, other)]
        state["cells"].copy_(cells[0] + cells[1])
        state["top"].copy_(top)
        state["count"] += other["count"]
        state["zeros"] += other["zeros"]

    def summary(self, state: State, keep: Tensor) -> HistogramSummary:
        kept = {name: value[keep] for name, value in state.items()}
        top = state["top"].where(keep.to(state["top"].device).unsqueeze(-1), self.bins).amax(0)
        cells = _lowered(kept["cells"], top - kept["top"]).sum(0)
        count, zeros = kept["count"].sum(), kept["zeros"].sum(0)
        return HistogramSummary(count, cells, zeros, top, self._grid().to(cells))


def _single(values: Tensor) -> Tensor:
    """Return float32 numbers; raises `CaptureError` for numbers that are none there."""
    import torch

    single = values.float().contiguous()
    if values.dtype == torch.float64 and not torch.equal(
        single.isfinite() & (single != 0), values != 0
    ):
        raise CaptureError(
            "a histogram reads float32, which holds no values under 1e-45 or over 3e38"
        )
    return single


def _pattern(values: Tensor) -> Tensor:
    """Return the leading 16 bits of float32 numbers as integers, without the sign."""
    import torch

    return (values.view(torch.int32) >> 16).long() & (_PATTERNS - 1)
