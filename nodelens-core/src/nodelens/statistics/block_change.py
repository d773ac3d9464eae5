"""The similarity of the input and the output of a residual block or a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State

_FIELDS = ("cosine", "read", "written", "change")


@frozen(eq=False)
class BlockSummary:
    """Means over positions for the input and the output of a block, scalars, float64.

    `cosine` is the mean of cos(h_in, h_out): 1 − cosine is the block influence of Men et al. 2024,
    "ShortGPT", arXiv:2403.03853, equation 1. `read`, `written` and `change` are the mean squared
    lengths of h_in, h_out and h_out − h_in. `count` is the number of positions.
    """

    count: Tensor
    cosine: Tensor
    read: Tensor
    written: Tensor
    change: Tensor


@frozen
class BlockSimilarity:
    """Cosine of a block's input and output at each position, and their lengths (block B16).

    The cosine is 1 where both are zero and 0 where one is.
    """

    reads: ClassVar[ReadPoint] = "block"
    requires: ClassVar[frozenset[Need]] = frozenset()
    additive: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        return layout.folds * (len(_FIELDS) + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        return {"count": zeros(layout), **{name: zeros(layout) for name in _FIELDS}}

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.rows import add_rows, row_counts
        from nodelens.statistics.sweeps import row_slices

        add_rows(state["count"], row_counts(reading), reading.fold)
        for rows in row_slices(reading):
            for name, total in zip(_FIELDS, _terms(reading, rows), strict=True):
                add_rows(state[name], total, reading.fold[rows])

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> BlockSummary:
        count = state["count"][keep].sum()
        means = (state[name][keep].sum() / count.clamp(min=1.0) for name in _FIELDS)
        return BlockSummary(count, *means)


def _terms(reading: Reading, rows: slice) -> tuple[Tensor, ...]:
    """Return the row sums of `_FIELDS`, in their order."""
    from nodelens.statistics.rows import blank

    assert reading.partner is not None
    before, after = reading.values[rows].double(), reading.partner[rows].double()
    read, written = before.square().sum(-1), after.square().sum(-1)
    change, scale = (after - before).square().sum(-1), (read * written).sqrt()
    cosine = ((before * after).sum(-1) / scale).where(scale > 0, (read == written).double())
    valid = None if reading.valid is None else reading.valid[rows]
    terms = (cosine, read, written, change)
    return tuple(blank(term.unsqueeze(-1), valid).sum((1, 2)) for term in terms)
