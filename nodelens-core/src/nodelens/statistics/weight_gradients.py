"""Gradients of weights, row by row of the data: the Fisher information of every parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class WeightGradientSummary:
    """Means over rows of dL_n/dW and its square, ``(outputs, fan_in)`` float64.

    L_n is the loss of row n, summed over its positions. `rows` is the number of rows.
    """

    rows: Tensor
    mean: Tensor
    mean_square: Tensor


@frozen
class WeightGradients:
    """Sums over rows n of dL_n/dW and (dL_n/dW)² of one module's weight (block B14).

    The gradient of a row is Σ_t g_t x_tᵀ over its positions, g = dL/dy of what the module writes
    and x what its weight reads; a batch's summed gradient could not be squared row by row. Products
    are taken in the precision of the activation and summed in float64.
    """

    reads: ClassVar[ReadPoint] = "weight"
    requires: ClassVar[frozenset[Need]] = frozenset({"gradient", "whole_rows", "quadratic"})

    def floats(self, layout: Layout) -> int:
        return layout.folds * (2 * layout.others * (layout.width // layout.blocks) + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        shape = (layout.blocks, layout.others // layout.blocks, layout.width // layout.blocks)
        return {
            "rows": zeros(layout),
            "sum": zeros(layout, *shape),
            "square": zeros(layout, *shape),
        }

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.rows import add_rows, row_counts, upcast
        from nodelens.statistics.sweeps import chunk_on

        assert reading.gradient is not None
        blocks, outputs, fan_in = state["sum"].shape[1:]
        add_rows(state["rows"], (row_counts(reading) > 0).double(), reading.fold)
        step = max(1, chunk_on(reading.values.device) // (blocks * outputs * fan_in))
        for first in range(0, len(reading.values), step):
            rows = slice(first, first + step)
            read = _by_block(upcast(reading.values[rows]), blocks)
            written = _by_block(upcast(reading.gradient[rows]), blocks)
            product = (written.mT @ read).double()
            add_rows(state["sum"], product, reading.fold[rows])
            add_rows(state["square"], product.square(), reading.fold[rows])

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> WeightGradientSummary:
        rows = state["rows"][keep].sum()
        scale = rows.clamp(min=1.0)
        mean, square = (
            state[name][keep].sum(0).flatten(0, 1) / scale for name in ("sum", "square")
        )
        return WeightGradientSummary(rows, mean, square)


def _by_block(values: Tensor, blocks: int) -> Tensor:
    """Return ``(rows, blocks, positions, features)``."""
    return values.view(*values.shape[:2], blocks, -1).movedim(-2, 1)
