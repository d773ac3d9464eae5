"""Second moments of nodes with numbers about the model's output: margin, loss, entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import evolve, frozen

from nodelens.interfaces.statistic import OUTPUTS
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class TargetSummary:
    """Moments of nodes and targets on the same samples, float64; each component counts as a node.

    `mean` and `variance` are ``(nodes,)``. The targets are those of `OUTPUTS`, in their order:
    `target_mean` and `target_variance` are ``(3,)``, the population `covariance` is ``(3, nodes)``,
    exactly 0 for constant nodes. `within`, ``(nodes, components, components)``, are the covariances
    between the components of one node. `count` is the number of samples.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    target_mean: Tensor
    target_variance: Tensor
    covariance: Tensor
    within: Tensor

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations with each target, ``(3, nodes)``, zero with a constant."""
        scale = self.target_variance.sqrt().unsqueeze(-1) * self.variance.sqrt()
        return (self.covariance / scale.where(scale > 0, 1.0)).clamp(-1.0, 1.0)


@renamed_arguments(tap="reads")
@frozen
class TargetMoments:
    """Sums of products of nodes with margin, −log p and entropy of the prediction (block B9).

    Samples are positions where each has its own prediction (tokens), else rows, because the
    positions of an image share one prediction: a count of positions would overstate the sample
    size. A row has the mean of its values, or the sum of its gates; where it has several
    predictions that are not those of the positions, its target is their mean. Samples without a
    label do not count.

    Attributes:
        reads: the read point.
        of: the value, or the gate q = a·g, summed over a node's components.
    """

    reads: ReadPoint = "activation"
    of: Literal["value", "gate"] = "value"

    @property
    def requires(self) -> frozenset[Need]:
        from nodelens.statistics.quantities import needs_of

        return needs_of(self.of) | {"outputs", "whole_rows"}

    def floats(self, layout: Layout) -> int:
        from nodelens.statistics.cross_products import floats_of_sides

        mine = self._layout(layout)
        return floats_of_sides(mine, len(OUTPUTS)) + mine.width + len(OUTPUTS)

    def _layout(self, layout: Layout) -> Layout:
        """Return the layout of what is multiplied: a gate is one number of a node."""
        return layout if self.of == "value" else evolve(layout, width=layout.nodes, components=1)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.cross_products import start_sides

        return start_sides(self._layout(layout), len(OUTPUTS))

    def update(self, state: State, reading: Reading) -> None:
        from nodelens.statistics.cross_products import add_sides

        values, targets, counted = labelled_samples(reading, self.of)
        pivots = self._pivots(state, reading, targets[counted])
        nodes, others = pivots.tensor_split([values.shape[-1]])
        add_sides(state, values.double() - nodes, targets - others, counted, reading.fold)

    def _pivots(self, state: State, reading: Reading, targets: Tensor) -> Tensor:
        """Return the pivots of nodes and, behind them, of targets ``(samples, 3)``."""
        import torch

        from nodelens.statistics.quantities import pivot_for

        if "pivot" not in state:
            centre = targets.mean(0) if len(targets) else targets.new_zeros(len(OUTPUTS))
            state["pivot"] = torch.cat([pivot_for({}, reading, self.of), centre])
        return state["pivot"]

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.cross_products import merge_sides

        merge_sides(state, other)

    def summary(self, state: State, keep: Tensor) -> TargetSummary:
        from nodelens.statistics.cross_products import sides_of

        found = sides_of(state, keep)
        return TargetSummary(
            found.count,
            found.mean,
            found.variance,
            found.other_mean,
            found.other_variance,
            found.covariance.mT,
            found.within,
        )


def labelled_samples(
    reading: Reading, of: Literal["value", "gate"] = "value"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, targets, ``(rows, samples, 3)``, and whether they count, by position or row.

    `TargetMoments` says when samples are positions and when rows.
    """
    from nodelens.statistics.quantities import counted_samples, quantity_of, row_quantity
    from nodelens.statistics.rows import row_counts

    assert reading.outputs is not None
    targets, samples = reading.outputs.double(), reading.values.shape[1]
    if targets.shape[1] == 1 or targets.shape[1] != samples:
        values, targets = row_quantity(reading, of).unsqueeze(1), targets.nanmean(1, keepdim=True)
        return values, targets, _labelled(targets) & (row_counts(reading) > 0).unsqueeze(-1)
    labelled, valid = _labelled(targets), counted_samples(reading, samples)
    return quantity_of(reading, of), targets, labelled if valid is None else labelled & valid


def _labelled(targets: Tensor) -> Tensor:
    return targets.isfinite().all(-1)
