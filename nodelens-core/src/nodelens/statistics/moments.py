"""Means and variances of what a site reads, over positions and over row means."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State


@frozen(eq=False)
class MomentSummary:
    """Population moments (divided by the number of samples), ``(nodes,)`` float64."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    @property
    def mean_square(self) -> Tensor:
        """E[a²]."""
        return self.variance + self.mean.square()

    @property
    def rms(self) -> Tensor:
        """The root mean square, sqrt(E[a²])."""
        return self.mean_square.sqrt()

    @property
    def std(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()


@frozen
class Moments:
    """Mean and variance of every node over all positions (block B1, first and second order)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Two sums per node and fold, the pivot, and one count per fold."""
        return layout.folds * (2 * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in ("s1", "s2")}
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums of d and d², d = a − pivot."""
        from nodelens.statistics.rows import add_rows, centred, row_counts, row_sum

        d = centred(state, reading)
        add_rows(state["count"], row_counts(reading), reading.fold)
        add_rows(state["s1"], row_sum(d), reading.fold)
        add_rows(state["s2"], row_sum(d.square()), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot and add."""
        if "pivot" not in other:
            return
        pivot = state.setdefault("pivot", other["pivot"].to(state["s1"].device))
        shift = other["pivot"].to(pivot.device) - pivot
        n, s1, s2 = (other[name].to(pivot.device) for name in ("count", "s1", "s2"))
        n = n.unsqueeze(-1)
        state["count"] += other["count"].to(pivot.device)
        state["s1"] += s1 + n * shift
        state["s2"] += s2 + 2 * shift * s1 + n * shift**2

    def summary(self, state: State, keep: Tensor) -> MomentSummary:
        """Return mean and variance over the kept folds."""
        from nodelens.statistics.rows import mean_about, resolved

        count = state["count"][keep].sum().clamp(min=1.0)
        d1 = state["s1"][keep].sum(0) / count
        d2 = state["s2"][keep].sum(0) / count
        pivot = state.get("pivot", d1 * 0)
        return MomentSummary(count, mean_about(pivot, d1), resolved(d2 - d1.square(), d2))


@frozen(eq=False)
class RowSummary:
    """Moments of row means; tensors are ``(nodes,)`` float64, `rows` is a scalar."""

    rows: Tensor
    mean: Tensor
    mean_square: Tensor
    abs_mean_square: Tensor
    mean_peak: Tensor


@frozen
class RowMoments:
    """Moments of each row's mean activation (block B2): rows are images or sequences.

    With ā_n the mean over the positions of row n: Σ ā_n, Σ ā_n², Σ (mean_t |a|)², Σ max_t |a|.
    """

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        """Four sums per node and fold, one count per fold."""
        return layout.folds * (4 * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        names = ("mean", "square", "abs_square", "peak")
        return {"rows": zeros(layout), **{name: zeros(layout, layout.width) for name in names}}

    def update(self, state: State, reading: Reading) -> None:
        """Add the moments of the row means; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_rows, blank, row_counts, row_sum, upcast

        values = blank(upcast(reading.values), reading.valid)
        counts = row_counts(reading)
        length = counts.clamp(min=1.0).unsqueeze(-1)
        mean, magnitude = row_sum(values) / length, row_sum(values.abs()) / length
        add_rows(state["rows"], (counts > 0).double(), reading.fold)
        add_rows(state["mean"], mean, reading.fold)
        add_rows(state["square"], mean.square(), reading.fold)
        add_rows(state["abs_square"], magnitude.square(), reading.fold)
        add_rows(state["peak"], values.abs().amax(1).double(), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> RowSummary:
        """Return means over rows of the kept folds."""
        rows = state["rows"][keep].sum().clamp(min=1.0)
        mean, square, abs_square, peak = (
            state[name][keep].sum(0) / rows for name in ("mean", "square", "abs_square", "peak")
        )
        return RowSummary(rows, mean, square, abs_square, peak)
