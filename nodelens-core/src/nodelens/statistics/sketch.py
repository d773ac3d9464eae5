"""A sketch of the second moments between nodes, in memory that grows with the width alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State
    from nodelens.statistics.quantities import Quantity


@frozen(eq=False)
class SketchSummary:
    """Mean, ``(nodes,)``, and a matrix `sketch`, ``(rank, nodes)``, float64.

    ``sketchᵀ sketch`` estimates the population covariance. Its diagonal, the variances, is exact;
    a correlation ρ has standard deviation (1 − ρ²)/√rank and a bias below 0.2/rank. The columns of
    constant nodes are exactly 0. Two groups' sketches of equal rank, at sites with the same
    positions, give the covariances between them in the same way. For a grouped convolution's input
    all have a leading axis of blocks.
    """

    count: Tensor
    mean: Tensor
    sketch: Tensor

    @property
    def covariance(self) -> Tensor:
        """The estimated covariance, ``(nodes, nodes)``."""
        return self.sketch.mT @ self.sketch

    @property
    def variance(self) -> Tensor:
        """The variances, ``(nodes,)``."""
        return self.sketch.square().sum(-2)

    @property
    def second_moment(self) -> Tensor:
        """The estimate of E[aaᵀ], ``(nodes, nodes)``."""
        return self.covariance + self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)

    @property
    def correlation(self) -> Tensor:
        """Estimated correlations ``(nodes, nodes)``: one on the diagonal, zero with a constant."""
        std = self.variance.sqrt().unsqueeze(-2)
        unit = self.sketch / std.where(std > 0, 1.0)
        rho = (unit.mT @ unit).clamp(-1.0, 1.0)
        rho.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return rho


@renamed_arguments(tap="reads")
@frozen
class GramSketch:
    """A sketch Z of the products of all pairs of nodes (blocks B7s and B8).

    Each position is added to one row of Z, with a sign; row and sign are a hash of the position's
    number in the data. E[ZᵀZ] is then the Gram matrix, and before its columns are scaled to the
    exact variances each correlation has variance (1 + ρ²)/rank: the same as with dense rows of
    random signs, for a fraction 1/rank of the work (Charikar, Chen and Farach-Colton 2002, "Finding
    frequent items in data streams"; Weinberger et al. 2009, arXiv:0902.2206, for inner products).
    The signs are summed beside Z, so that centring after the pass is exact.

    Attributes:
        reads: the read point.
        of: what is multiplied.
        rank: rows of the sketch.
    """

    reads: ReadPoint = "activation"
    of: Quantity = "value"
    rank: int = field(default=1024, validator=validators.ge(1))

    @property
    def requires(self) -> frozenset[Need]:
        from nodelens.statistics.quantities import needs_of

        return needs_of(self.of) | {"quadratic"}

    def floats(self, layout: Layout) -> int:
        width = self._width(layout)
        each = self.rank * (width + 1) + 2 * width + 1
        return layout.folds * each + width

    def _width(self, layout: Layout) -> int:
        from nodelens.statistics.quantities import width_of

        return width_of(layout, self.of)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        width = self._width(layout)
        return {
            "count": zeros(layout),
            "s1": zeros(layout, layout.blocks, width // layout.blocks),
            "square": zeros(layout, layout.blocks, width // layout.blocks),
            "signs": zeros(layout, self.rank),
            "sketch": zeros(layout, self.rank, width),
        }

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.quantities import pivot_for, quantity_of
        from nodelens.statistics.rows import add_rows
        from nodelens.statistics.sweeps import row_slices

        values = quantity_of(reading, self.of)
        pivot = pivot_for(state, reading, self.of)
        sign, counted, cell = self._places(reading, values.shape[1])
        add_rows(state["count"], counted.sum(1), reading.fold)
        state["signs"].view(-1).index_add_(0, cell.flatten(), sign.flatten())
        sketch = state["sketch"].flatten(0, 1)
        for rows in row_slices(reading):
            d = (values[rows].double() - pivot) * counted[rows].unsqueeze(-1)
            fold = reading.fold[rows]
            add_rows(state["s1"].flatten(1), d.sum(1), fold)
            add_rows(state["square"].flatten(1), d.square().sum(1), fold)
            d *= sign[rows].unsqueeze(-1)
            sketch.index_add_(0, cell[rows].flatten(), d.flatten(0, 1))

    def _places(self, reading: Reading, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sign of every sample, whether it counts, and its row of the sketch."""
        from nodelens.statistics.quantities import counted_samples
        from nodelens.statistics.sample_draws import sample_keys

        keys = sample_keys(reading, samples)
        sign = 1.0 - 2.0 * (keys & 1).double()
        valid = counted_samples(reading, samples)
        counted = sign.square() if valid is None else valid.double()
        cell = reading.fold.unsqueeze(-1) * self.rank + (keys >> 1) % self.rank
        return sign * counted, counted, cell

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields, common_pivot

        if "pivot" not in other:
            return
        shift = common_pivot(state, other, "count")
        moved = {name: value.to(shift.device) for name, value in other.items() if name != "pivot"}
        add_fields(state, moved)
        state["sketch"] += moved["signs"].unsqueeze(-1) * shift
        shift = shift.view(state["s1"].shape[1:])
        n = moved["count"][:, None, None]
        state["square"] += 2 * shift * moved["s1"] + n * shift.square()
        state["s1"] += n * shift

    def summary(self, state: State, keep: Tensor) -> SketchSummary:
        from nodelens.statistics.rows import mean_about, resolved, varies

        count = state["count"][keep].sum().clamp(min=1.0)
        d1, square = (state[name][keep].sum(0) / count for name in ("s1", "square"))
        pivot = state["pivot"].view_as(d1) if "pivot" in state else d1 * 0
        mean = mean_about(pivot, d1)
        variance = resolved(square - d1.square(), square)
        variance = variance.where(varies(variance, mean), 0.0)
        signs, sketch = (state[name][keep].sum(0) for name in ("signs", "sketch"))
        sketch = sketch.view(self.rank, *d1.shape).movedim(0, 1)
        sketch = sketch - signs.unsqueeze(-1) * d1.unsqueeze(-2)
        norm = sketch.square().sum(-2)
        live = (variance > 0) & (norm > 0)
        scale = (variance / norm).sqrt().where(live, 0.0)
        sketch = sketch * scale.unsqueeze(-2)
        if len(mean) == 1:
            mean, sketch = mean[0], sketch[0]
        return SketchSummary(count, mean, sketch)
