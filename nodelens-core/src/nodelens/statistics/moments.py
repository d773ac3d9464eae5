"""Moments of the values of a site, over positions and over row means."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.statistic import RowSums
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class MomentSummary:
    """Population moments (divided by the number of samples), ``(nodes,)`` float64.

    `third` and `fourth` are E[(a−μ)³] and E[(a−μ)⁴], 0 for a node that is constant up to the
    rounding of its powers; None unless the statistic has four orders.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    third: Tensor | None = None
    fourth: Tensor | None = None

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


@renamed_arguments(tap="reads")
@frozen
class Moments:
    """Moments of every node over all positions (block B1; at the input, block B5).

    Attributes:
        reads: the read point.
        order: 2 for mean and variance, 4 for the third and fourth central moment as well.
    """

    reads: ReadPoint = "activation"
    order: Literal[2, 4] = field(default=2, validator=validators.in_((2, 4)))
    requires: ClassVar[frozenset[Need]] = frozenset()
    additive: ClassVar[bool] = True

    def covers(self, other: object) -> bool:
        return (
            isinstance(other, Moments) and other.reads == self.reads and other.order <= self.order
        )

    @property
    def row_sums(self) -> RowSums:
        return RowSums(powers=self.order)

    def floats(self, layout: Layout) -> int:
        return layout.folds * (self.order * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {f"s{power}": zeros(layout, layout.width) for power in self._powers()}
        return {"count": zeros(layout), **fields}

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.rows import add_terms, pivot_of, row_counts
        from nodelens.statistics.sums import power_sums

        sums = power_sums(reading, pivot_of(state, reading), self.order)
        terms = {f"s{power}": sums[power - 1] for power in self._powers()}
        add_terms(state, reading, {"count": row_counts(reading), **terms})

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import common_pivot, moved

        if "pivot" not in other:
            return
        shift = common_pivot(state, other, "count")
        count = other["count"].to(shift.device)
        sums = [count.unsqueeze(-1)]
        sums += [other[f"s{power}"].to(shift.device) for power in self._powers()]
        state["count"] += count
        for power, total in zip(self._powers(), moved(sums, shift), strict=True):
            state[f"s{power}"] += total

    def summary(self, state: State, keep: Tensor) -> MomentSummary:
        from nodelens.statistics.rows import mean_about, resolved

        count = state["count"][keep].sum().clamp(min=1.0)
        d1, d2, *higher = (state[f"s{power}"][keep].sum(0) / count for power in self._powers())
        mean = mean_about(state.get("pivot", d1 * 0), d1)
        variance = resolved(d2 - d1.square(), d2)
        if not higher:
            return MomentSummary(count, mean, variance)
        d3, d4 = higher
        constant = variance == 0
        third = (d3 - 3 * d1 * d2 + 2 * d1**3).masked_fill(constant, 0.0)
        fourth = d4 - 4 * d1 * d3 + 6 * d1**2 * d2 - 3 * d1**4
        fourth = resolved(fourth, d4).masked_fill(constant, 0.0)
        return MomentSummary(count, mean, variance, third, fourth)

    def _powers(self) -> range:
        return range(1, self.order + 1)


@frozen(eq=False)
class RowSummary:
    """Moments of row means; tensors are ``(nodes,)`` float64, `rows` is a scalar."""

    rows: Tensor
    mean: Tensor
    mean_square: Tensor
    abs_mean_square: Tensor
    mean_peak: Tensor


@renamed_arguments(tap="reads")
@frozen
class RowMoments:
    """Moments of each row's mean activation (block B2): rows are images or sequences.

    With ā_n the mean over the positions of row n: Σ ā_n, Σ ā_n², Σ (mean_t |a|)², Σ max_t |a|.
    """

    reads: ReadPoint = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"whole_rows"})
    row_sums: ClassVar[RowSums] = RowSums(powers=2, magnitudes=True)
    additive: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        return layout.folds * (4 * layout.width + 1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        names = ("mean", "square", "abs_square", "peak")
        return {"rows": zeros(layout), **{name: zeros(layout, layout.width) for name in names}}

    def update(self, state: State, reading: Reading) -> None:
        """Add the moments of the row means; rows without a valid position do not count."""
        from nodelens.statistics.rows import add_terms, row_counts
        from nodelens.statistics.sums import absolute_sums, extremes

        counts = row_counts(reading)
        mean = row_means(reading)
        magnitude = absolute_sums(reading) / counts.clamp(min=1.0).unsqueeze(-1)
        high, low = extremes(reading)
        peak = high.maximum(-low).masked_fill((counts == 0).unsqueeze(-1), 0.0)
        squares = {"square": mean.square(), "abs_square": magnitude.square()}
        terms = {"rows": (counts > 0).double(), "mean": mean, **squares, "peak": peak}
        add_terms(state, reading, terms)

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> RowSummary:
        rows = state["rows"][keep].sum().clamp(min=1.0)
        mean, square, abs_square, peak = (
            state[name][keep].sum(0) / rows for name in ("mean", "square", "abs_square", "peak")
        )
        return RowSummary(rows, mean, square, abs_square, peak)


def row_means(reading: Reading) -> Tensor:
    """Return the mean activation of every row, ``(rows, nodes)`` float64; 0 without positions."""
    from nodelens.statistics.rows import row_counts, row_sum
    from nodelens.statistics.sums import power_sums

    counts = row_counts(reading)
    length = counts.clamp(min=1.0).unsqueeze(-1)
    if reading.pivot is None:
        return row_sum(reading.values) / length
    about = power_sums(reading, reading.pivot, 2)[0] / length
    return (about + reading.pivot).masked_fill((counts == 0).unsqueeze(-1), 0.0)
