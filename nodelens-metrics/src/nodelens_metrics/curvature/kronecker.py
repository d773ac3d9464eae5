"""Statistics for the Kronecker factors of a weight's Fisher matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State
    from nodelens.statistics.gram import GramSummary

_PRODUCTS = Gram(reads="preactivation", of="gradient")


@frozen
class GradientGram:
    """Products of the gradients of all pairs of nodes, for labels drawn from the model."""

    reads: ClassVar[ReadPoint] = "preactivation"
    requires: ClassVar[frozenset[Need]] = frozenset({"sampled_gradient", "quadratic"})

    def floats(self, layout: Layout) -> int:
        """As many as products of values."""
        return _PRODUCTS.floats(layout)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        return _PRODUCTS.start(layout)

    def update(self, state: State, reading: Reading) -> None:
        """Add the products of the gradients of one reading."""
        _PRODUCTS.update(state, reading)

    def merge(self, state: State, other: State) -> None:
        """Add the products."""
        _PRODUCTS.merge(state, other)

    def summary(self, state: State, keep: Tensor) -> GramSummary:
        """Return the means over the kept folds."""
        return _PRODUCTS.summary(state, keep)


@frozen
class RowLength:
    """Mean number of positions of a row at which the nodes are written, a scalar."""

    reads: ClassVar[ReadPoint] = "preactivation"
    requires: ClassVar[frozenset[Need]] = frozenset({"whole_rows"})

    def floats(self, layout: Layout) -> int:
        """Two counts per fold."""
        return 2 * layout.folds

    def start(self, layout: Layout) -> State:
        """Return empty counts."""
        from nodelens.statistics.rows import zeros

        return {"rows": zeros(layout), "count": zeros(layout)}

    def update(self, state: State, reading: Reading) -> None:
        """Count rows and positions without padding; rows of padding alone do not count."""
        from nodelens.statistics.rows import add_rows, row_counts

        counts = row_counts(reading)
        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        add_rows(state["count"], counts, reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Add the counts."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> Tensor:
        """Return the mean over the rows of the kept folds; 0 without rows."""
        return state["count"][keep].sum() / state["rows"][keep].sum().clamp(min=1.0)
