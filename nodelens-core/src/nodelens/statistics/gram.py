"""Second moments between nodes: covariance and correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State


@frozen(eq=False)
class GramSummary:
    """Population covariance, ``(nodes, nodes)`` float64, and mean, ``(nodes,)``.

    The rows and columns of constant nodes are exactly 0.
    """

    count: Tensor
    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, ``(nodes,)``."""
        return self.covariance.diagonal()

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations ``(nodes, nodes)``: one on the diagonal, zero with a constant."""
        std = self.variance.sqrt()
        scale = std.where(std > 0, std.new_tensor(1.0))
        rho = (self.covariance / scale.outer(scale)).clamp(-1.0, 1.0)
        return rho.fill_diagonal_(1.0)


@frozen
class Gram:
    """Sums of products of all pairs of nodes, about a pivot (block B7)."""

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = False
    per_row: ClassVar[bool] = False

    def floats(self, layout: Layout) -> int:
        """A square matrix and a vector per fold, the pivot, one count per fold."""
        return layout.folds * (layout.width**2 + layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        return {
            "count": zeros(layout),
            "s1": zeros(layout, layout.width),
            "s2": zeros(layout, layout.width, layout.width),
        }

    def update(self, state: State, reading: Reading) -> None:
        """Add the products of d = a − pivot, fold by fold."""
        from nodelens.statistics.rows import add_rows, centred, row_counts, row_sum

        d = centred(state, reading)
        add_rows(state["count"], row_counts(reading), reading.fold)
        add_rows(state["s1"], row_sum(d), reading.fold)
        for fold in set(reading.fold.tolist()):
            rows = d[reading.fold == fold].flatten(0, 1)
            state["s2"][fold].addmm_(rows.T, rows)

    def merge(self, state: State, other: State) -> None:
        """Move `other` to this state's pivot and add."""
        if "pivot" not in other:
            return
        pivot = state.setdefault("pivot", other["pivot"].to(state["s1"].device))
        shift = other["pivot"].to(pivot.device) - pivot
        n, s1, s2 = (other[name].to(pivot.device) for name in ("count", "s1", "s2"))
        cross = s1.unsqueeze(-1) * shift
        state["count"] += n
        state["s1"] += s1 + n.unsqueeze(-1) * shift
        state["s2"] += s2 + cross + cross.mT + n[:, None, None] * shift.outer(shift)

    def summary(self, state: State, keep: Tensor) -> GramSummary:
        """Return mean and covariance over the kept folds."""
        from nodelens.statistics.rows import mean_about, resolved

        count = state["count"][keep].sum().clamp(min=1.0)
        d1 = state["s1"][keep].sum(0) / count
        d2 = state["s2"][keep].sum(0) / count
        covariance = d2 - d1.outer(d1)
        live = resolved(covariance.diagonal(), d2.diagonal()) > 0
        covariance = covariance.where(live & live.unsqueeze(-1), 0.0)
        pivot = state.get("pivot", d1 * 0)
        return GramSummary(count, mean_about(pivot, d1), covariance)
