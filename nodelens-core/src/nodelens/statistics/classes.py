"""Class-conditional moments of row means."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import Tap
    from nodelens.statistics.contract import Layout, Reading, State


@frozen(eq=False)
class ClassSummary:
    """Row counts by class, ``(classes,)``, means and variances, ``(classes, nodes)``, float64."""

    count: Tensor
    mean: Tensor
    variance: Tensor


@frozen
class ClassMoments:
    """Mean and variance of each row's mean activation, by the row's class (block B10).

    Per row, because a label belongs to an image, not to a pixel: counting positions would fake the
    sample size.
    """

    tap: Tap = "activation"
    needs_gradient: ClassVar[bool] = False
    needs_targets: ClassVar[bool] = True
    per_row: ClassVar[bool] = True

    def floats(self, layout: Layout) -> int:
        """Two sums per class, node and fold, the pivot, one count per class and fold."""
        return layout.folds * layout.classes * (2 * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros

        shape = (layout.classes, layout.width)
        return {
            "count": zeros(layout, layout.classes),
            "s1": zeros(layout, *shape),
            "s2": zeros(layout, *shape),
        }

    def update(self, state: State, reading: Reading) -> None:
        """Add the row means to their classes."""
        from nodelens.statistics.rows import centred, row_counts, row_sum

        assert reading.targets is not None
        counts = row_counts(reading)
        mean = row_sum(centred(state, reading)) / counts.clamp(min=1.0).unsqueeze(-1)
        where = (reading.fold, reading.targets)
        state["count"].index_put_(where, (counts > 0).double(), accumulate=True)
        state["s1"].index_put_(where, mean, accumulate=True)
        state["s2"].index_put_(where, mean.square(), accumulate=True)

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

    def summary(self, state: State, keep: Tensor) -> ClassSummary:
        """Return class means and variances over the kept folds."""
        count = state["count"][keep].sum(0)
        scale = count.clamp(min=1.0).unsqueeze(-1)
        d1, d2 = (state[name][keep].sum(0) / scale for name in ("s1", "s2"))
        pivot = state.get("pivot", d1[0] * 0)
        return ClassSummary(count, pivot + d1, (d2 - d1.square()).clamp(min=0.0))
