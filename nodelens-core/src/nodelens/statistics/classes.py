"""Class-conditional moments, of row means or of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED, RowSums
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class ClassSummary:
    """Sample counts by class, ``(classes,)``, means and variances, ``(classes, nodes)``, float64.

    A node that is constant over all rows has the same mean in all classes and variances of 0.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor


@renamed_arguments(tap="reads")
@frozen
class ClassMoments:
    """Mean and variance of each row's mean activation, by the row's class (block B10).

    Rows are counted, because a label belongs to an image, not to a pixel: a count of positions
    would overstate the sample size. Rows labelled -100 do not count.

    Attributes:
        reads: the read point.
        per: ``position`` for moments over the positions of a class, which describe how a node
            varies within a class.
    """

    reads: ReadPoint = "activation"
    per: Literal["row", "position"] = field(
        default="row", validator=validators.in_(("row", "position"))
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"targets", "whole_rows"})
    row_sums: ClassVar[RowSums] = RowSums(powers=2)

    def floats(self, layout: Layout) -> int:
        return layout.folds * layout.classes * (2 * layout.width + 1) + layout.width

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        shape = (layout.classes, layout.width)
        return {
            "count": zeros(layout, layout.classes),
            "s1": zeros(layout, *shape),
            "s2": zeros(layout, *shape),
        }

    def update(self, state: State, reading: Reading) -> None:
        """Add the rows to their classes; raises `DataError` for a label out of range."""
        from nodelens.statistics.rows import add_rows, pivot_of, row_counts
        from nodelens.statistics.sums import power_sums

        assert reading.targets is not None
        counts, labelled = row_counts(reading), reading.targets != IGNORED
        classes = state["count"].shape[1]
        _check_labels(reading.targets[labelled], classes)
        d1, d2 = power_sums(reading, pivot_of(state, reading), 2)[:2]
        terms = {"count": counts, "s1": d1, "s2": d2}
        if self.per == "row":
            mean = d1 / counts.clamp(min=1.0).unsqueeze(-1)
            terms = {"count": (counts > 0).double(), "s1": mean, "s2": mean.square()}
        cell = reading.fold[labelled] * classes + reading.targets[labelled]
        for name, term in terms.items():
            add_rows(state[name].flatten(0, 1), term[labelled], cell)

    def merge(self, state: State, other: State) -> None:
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
        from nodelens.statistics.rows import mean_about, resolved

        count, s1, s2 = (state[name][keep].sum(0) for name in ("count", "s1", "s2"))
        rows, scale = count.sum().clamp(min=1.0), count.clamp(min=1.0).unsqueeze(-1)
        d1, d2 = s1 / scale, s2 / scale
        centre, spread = s1.sum(0) / rows, s2.sum(0) / rows
        varies = resolved(spread - centre.square(), spread) > 0
        mean = mean_about(state.get("pivot", centre * 0), d1.where(varies, centre))
        return ClassSummary(count, mean, resolved(d2 - d1.square(), d2).where(varies, 0.0))


def _check_labels(labels: Tensor, classes: int) -> None:
    """Raise `DataError` unless all labels are in 0..classes-1."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise DataError(
            f"label {int(wrong[0])} is not one of the {classes} classes, 0 to {classes - 1}; "
            f"number the classes from 0, and label rows that do not count {IGNORED}"
        )
