"""Magnitudes of the values of a site: mean |a|, zeros, extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from nodelens.interfaces.statistic import RowSums
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class MagnitudeSummary:
    """Magnitudes of each node; every tensor is ``(nodes,)`` float64."""

    count: Tensor
    mean_abs: Tensor
    zero_fraction: Tensor
    maximum: Tensor
    minimum: Tensor

    @property
    def peak(self) -> Tensor:
        """max |a|."""
        return self.maximum.abs().maximum(self.minimum.abs())


@renamed_arguments(tap="reads")
@frozen
class Magnitudes:
    """Mean |a|, the fraction of |a| ≤ `tolerance`, and extremes (block B1)."""

    reads: ReadPoint = "activation"
    tolerance: float = 0.0
    requires: ClassVar[frozenset[Need]] = frozenset()

    @property
    def row_sums(self) -> RowSums:
        return RowSums(magnitudes=True, small=frozenset({self.tolerance}))

    def floats(self, layout: Layout) -> int:
        return layout.folds * (4 * layout.width + 1)

    def start(self, layout: Layout) -> State:
        import torch

        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in ("abs", "zeros", "max", "min")}
        fields["max"].fill_(-torch.inf)
        fields["min"].fill_(torch.inf)
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.rows import add_terms, row_counts
        from nodelens.statistics.sums import absolute_sums, extremes, small_counts

        zeros = small_counts(reading, self.tolerance)
        terms = {"count": row_counts(reading), "zeros": zeros, "abs": absolute_sums(reading)}
        add_terms(state, reading, terms)
        index = reading.fold.unsqueeze(-1).expand(-1, reading.values.shape[-1])
        high, low = extremes(reading)
        state["max"].scatter_reduce_(0, index, high, "amax")
        state["min"].scatter_reduce_(0, index, low, "amin")

    def merge(self, state: State, other: State) -> None:
        device = state["count"].device
        for name in ("count", "abs", "zeros"):
            state[name] += other[name].to(device)
        state["max"] = state["max"].maximum(other["max"].to(device))
        state["min"] = state["min"].minimum(other["min"].to(device))

    def summary(self, state: State, keep: Tensor) -> MagnitudeSummary:
        count = state["count"][keep].sum().clamp(min=1.0)
        return MagnitudeSummary(
            count=count,
            mean_abs=state["abs"][keep].sum(0) / count,
            zero_fraction=state["zeros"][keep].sum(0) / count,
            maximum=state["max"][keep].amax(0),
            minimum=state["min"][keep].amin(0),
        )
