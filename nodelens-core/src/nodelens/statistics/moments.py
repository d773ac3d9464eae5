"""Moments of what a site reads: means and variances, higher orders, magnitudes, row means."""

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
        count = state["count"][keep].sum().clamp(min=1.0)
        d1 = state["s1"][keep].sum(0) / count
        d2 = state["s2"][keep].sum(0) / count
        pivot = state.get("pivot", d1 * 0)
        return MomentSummary(count, pivot + d1, (d2 - d1.square()).clamp(min=0.0))


@frozen(eq=False)
class ShapeSummary:
    """The shape of each node's distribution; every tensor is ``(nodes,)`` float64."""

    mean: Tensor
    variance: Tensor
    third: Tensor
    fourth: Tensor

    @property
    def kurtosis(self) -> Tensor:
        """E[(a−μ)⁴] / Var²: 3 for a Gaussian, NaN for a constant node."""
        return self.fourth / self.variance.square()

    @property
    def skewness(self) -> Tensor:
        """E[(a−μ)³] / Var^1.5, NaN for a constant node."""
        return self.third / self.variance**1.5


@frozen
class ShapeMoments:
    """Central moments up to the fourth order (block B1, all orders)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Four sums per node and fold, the pivot, and one count per fold."""
        return layout.folds * (4 * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in ("s1", "s2", "s3", "s4")}
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add the sums of d, d², d³ and d⁴, d = a − pivot."""
        from nodelens.statistics.rows import add_rows, centred, row_counts, row_sum

        d = centred(state, reading)
        square = d.square()
        add_rows(state["count"], row_counts(reading), reading.fold)
        for name, power in (("s1", d), ("s2", square), ("s3", square * d), ("s4", square * square)):
            add_rows(state[name], row_sum(power), reading.fold)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot by the binomial theorem and add."""
        if "pivot" not in other:
            return
        pivot = state.setdefault("pivot", other["pivot"].to(state["s1"].device))
        t = other["pivot"].to(pivot.device) - pivot
        names = ("count", "s1", "s2", "s3", "s4")
        n, s1, s2, s3, s4 = (other[name].to(pivot.device) for name in names)
        state["count"] += n
        n = n.unsqueeze(-1)
        state["s1"] += s1 + n * t
        state["s2"] += s2 + 2 * t * s1 + n * t**2
        state["s3"] += s3 + 3 * t * s2 + 3 * t**2 * s1 + n * t**3
        state["s4"] += s4 + 4 * t * s3 + 6 * t**2 * s2 + 4 * t**3 * s1 + n * t**4

    def summary(self, state: State, keep: Tensor) -> ShapeSummary:
        """Return central moments over the kept folds."""
        count = state["count"][keep].sum().clamp(min=1.0)
        d1, d2, d3, d4 = (state[name][keep].sum(0) / count for name in ("s1", "s2", "s3", "s4"))
        third = d3 - 3 * d1 * d2 + 2 * d1**3
        fourth = d4 - 4 * d1 * d3 + 6 * d1**2 * d2 - 3 * d1**4
        pivot = state.get("pivot", d1 * 0)
        variance = (d2 - d1.square()).clamp(min=0.0)
        return ShapeSummary(pivot + d1, variance, third, fourth.clamp(min=0.0))


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


@frozen
class Magnitudes:
    """Mean |a|, the share of |a| ≤ `tolerance`, and extremes (block B1)."""

    tap: Tap = "activation"
    tolerance: float = 0.0
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """Four numbers per node and fold, one count per fold."""
        return layout.folds * (4 * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums and extremes."""
        import torch

        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in ("abs", "zeros", "max", "min")}
        fields["max"].fill_(-torch.inf)
        fields["min"].fill_(torch.inf)
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        """Add sums of |a| and counts of zeros, keep extremes."""
        import torch

        from nodelens.statistics.rows import add_rows, blank, row_counts, row_sum, upcast

        values, valid, fold = upcast(reading.values), reading.valid, reading.fold
        add_rows(state["count"], row_counts(reading), fold)
        add_rows(state["abs"], row_sum(blank(values.abs(), valid)), fold)
        small = blank((values.abs() <= self.tolerance).to(values.dtype), valid)
        add_rows(state["zeros"], row_sum(small), fold)
        index = fold.unsqueeze(-1).expand(-1, values.shape[-1])
        high = blank(values, valid, -torch.inf).amax(1).double()
        low = blank(values, valid, torch.inf).amin(1).double()
        state["max"].scatter_reduce_(0, index, high, "amax")
        state["min"].scatter_reduce_(0, index, low, "amin")

    def merge(self, state: State, other: State) -> None:
        """Add sums, keep the further extreme."""
        device = state["count"].device
        for name in ("count", "abs", "zeros"):
            state[name] += other[name].to(device)
        state["max"] = state["max"].maximum(other["max"].to(device))
        state["min"] = state["min"].minimum(other["min"].to(device))

    def summary(self, state: State, keep: Tensor) -> MagnitudeSummary:
        """Return means and extremes over the kept folds."""
        count = state["count"][keep].sum().clamp(min=1.0)
        return MagnitudeSummary(
            count=count,
            mean_abs=state["abs"][keep].sum(0) / count,
            zero_fraction=state["zeros"][keep].sum(0) / count,
            maximum=state["max"][keep].amax(0),
            minimum=state["min"][keep].amin(0),
        )


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
