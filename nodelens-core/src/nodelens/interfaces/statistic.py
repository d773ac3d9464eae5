"""The interface of statistics: frozen descriptions that make, update and merge a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nodelens.channels.groups import ChannelGraph

State = dict[str, "Tensor"]
"""Named tensors; the first axis is the fold, except of a `pivot`, which all folds share."""

IGNORED = -100
"""The label of a row or position that does not count, as in torch's cross-entropy."""

ReadPoint = Literal["activation", "preactivation", "input", "weight", "pair", "block", "loss"]
"""The point of the model that a statistic reads.

``activation`` is what a group's consumers read and ``preactivation`` what its producers write, both
``(rows, positions, nodes)``. A node of several components, such as the dimensions of a head, has
one entry for each of them in the last axis, node by node: ``(rows, positions, nodes ·
components)``. ``input`` is what a producer's weights are multiplied with, ``(rows, positions,
features)``: a convolution's patches, unfolded. ``weight`` is that and, as `gradient`, dL/dy of what
the producer writes. ``pair`` is a group's activation and, as `partner`, that of the next group on
the same positions. ``block`` is what a residual block or a layer reads and, as `partner`, what it
returns, both on the same nodes. ``loss`` is not about nodes: it holds the summed loss of each row
and the number of labels in that sum, ``(rows, 1, 2)``.
"""

Need = Literal["gradient", "sampled_gradient", "targets", "outputs", "whole_rows", "quadratic"]
"""A requirement of a statistic: a part of the reading, or a property of the pass.

``gradient`` is dL/da; ``sampled_gradient`` dL/da with labels that are drawn from the model's own
predictions (true Fisher). ``targets`` are class labels, ``outputs`` numbers about the model's
output (see `OUTPUTS`): such a statistic is updated when the forward has ended. ``whole_rows`` says
that it needs all of a row at once (a nonlinear function of a sum over the row's positions): where a
group is read at several sites, their positions come in one reading then, else site by site.
``quadratic`` says that its memory grows with a product of widths: it may be kept in fewer folds, to
fit the memory budget. Unless it needs whole rows too, it is a sum over samples that are all alike,
and may be given a fraction of them (`CapturePlan.position_fraction`).
"""

OUTPUTS = ("margin", "nll", "entropy")
"""The numbers about the model's output in `Reading.outputs`, for each row or position.

The true logit minus the largest other one, −log p of the label, the entropy of the prediction; the
last two are in nats.
"""


@frozen
class RowSums:
    """The sums over the positions of each row that a statistic needs of a reading, and no more.

    Attributes:
        powers: the highest power of a − pivot that is summed, 0 for none.
        magnitudes: whether Σ|a| and the extremes are needed.
        small: tolerances t, for each of which |a| ≤ t is counted.
        gates: whether Σ a·g is needed.
    """

    powers: Literal[0, 2, 4] = 0
    magnitudes: bool = False
    small: frozenset[float] = frozenset()
    gates: bool = False

    @property
    def number(self) -> int:
        """The number of sums of each row and node."""
        return self.powers + 3 * self.magnitudes + len(self.small) + self.gates

    def __or__(self, other: RowSums) -> RowSums:
        return RowSums(
            max(self.powers, other.powers),
            self.magnitudes or other.magnitudes,
            self.small | other.small,
            self.gates or other.gates,
        )


SummaryT = TypeVar("SummaryT", covariant=True)


def members_of(fold: Tensor, folds: int) -> Tensor:
    """Return 1 where a row is in a fold, ``(folds, rows)`` float64; `fold` is ``(rows,)``."""
    import torch

    return (fold == torch.arange(folds, device=fold.device).unsqueeze(-1)).double()


@frozen(eq=False)
class Reading:
    """The values that a batch has at one site, with folds, labels and padding.

    A row is one independent unit of the data (an image, a sequence), a position one sample within
    it (a pixel, a token). Invalid positions hold zeros in `values` and `gradient`.

    Attributes:
        values: what is read, ``(rows, positions, nodes)``, where a node of several components has
            one entry for each, side by side.
        fold: the fold of each row, ``(rows,)`` int64, or how often each row counts in each fold,
            ``(rows, folds)`` float64.
        gradient: dL/da of the loss *summed* over the batch, ``(rows, positions, nodes)``.
        valid: False at padding, ``(rows, positions)`` of bool; None where all positions count.
        targets: class labels where the data has them, ``(rows,)`` int64, -100 for rows without.
        index: the number of each row in the data, ``(rows,)``, which keys random choices.
        grid: the shape of the positions where it is more than a line, as ``(height, width)``.
        components: the number of components of each node (the dimensions of a head), which are
            neighbours in the last axis.
        outputs: the numbers of `OUTPUTS`, ``(rows, positions or 1, 3)``.
        partner: the second tensor of a pair or a block, ``(rows, positions, others)``.
        pivot: a point near the mean, ``(nodes,)`` float64, shared by all statistics of the site.
        start: where a sequence starts in its row of the data, ``(rows,)`` int64, None for 0. Two
            sequences packed into one row have the same `index`.
        site: the number of the site among those of a group that are read one by one.
        shared: sums that several statistics need, kept as long as the reading.
    """

    values: Tensor
    fold: Tensor
    gradient: Tensor | None = None
    valid: Tensor | None = None
    targets: Tensor | None = None
    index: Tensor | None = None
    grid: tuple[int, ...] = ()
    components: int = 1
    outputs: Tensor | None = None
    partner: Tensor | None = None
    pivot: Tensor | None = None
    start: Tensor | None = None
    site: int = 0
    shared: dict[Any, tuple[Tensor, ...]] = field(factory=dict)

    def members(self, folds: int) -> Tensor:
        """Return how often each row counts in each fold, ``(folds, rows)`` float64."""
        if self.fold.ndim == 2:
            return self.fold.mT
        key = ("members", folds)
        if key not in self.shared:
            self.shared[key] = (members_of(self.fold, folds),)
        return self.shared[key][0]

    def in_folds(self, folds: int) -> Reading:
        """Return the reading with its folds merged to `folds`; shared sums are kept."""
        return evolve(self, fold=self.fold % folds)


@frozen
class Layout:
    """The sizes that an empty state is made from.

    Attributes:
        width: the number of components of all nodes together (of nodes, where each has one), or of
            input features.
        folds: the number of folds, the first axis of every tensor.
        device: where the state is.
        classes: the number of classes, 0 without labels.
        blocks: the number of groups of a grouped convolution, whose input features are then
            ``blocks`` equal runs.
        others: the width of the second tensor: outputs of a weight, components of a partner.
        components: the number of components of each node.
        other_components: the number of components of each node of a partner.
    """

    width: int
    folds: int
    device: torch.device | str = "cpu"
    classes: int = 0
    blocks: int = 1
    others: int = 0
    components: int = 1
    other_components: int = 1

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return self.width // self.components


@runtime_checkable
class Statistic(Protocol[SummaryT]):
    """A mergeable accumulator over the readings of one read point, kept in folds.

    Implementations are frozen attrs classes; their modules import without torch. Statistics that
    are equal (attrs equality) are shared between metrics. Sums are float64.

    A statistic may have more. ``covers(other) -> bool`` says that its summary holds every field of
    the summary of `other`; only the covering statistic is then kept. ``row_sums``, an attribute or
    property, gives the `RowSums` that `update` needs, if it needs nothing else of a reading. They
    are computed together with those of other statistics, and `update` may be called when the batch
    has ended, with NaN in place of the values. Statistics of pairs of nodes do not have it. A class
    attribute ``additive = True`` says that every field but a pivot is a sum over rows, which
    `rows.add_rows` adds to the reading's fold, so that rows can be weighted (see `Bootstrap`).
    ``pooled = True`` says that all folds share the places of a sample of fixed size: what is kept
    of a fold depends on the others (see `Reservoir`).

    Example:
        ::

            @frozen
            class Positives:
                \"\"\"The number of positions where a node is positive.\"\"\"

                reads = "activation"
                requires = frozenset()

                def floats(self, layout):
                    return layout.folds * layout.width

                def start(self, layout):
                    return {"positive": zeros(layout, layout.width)}

                def update(self, state, reading):
                    positive = (reading.values > 0).double()
                    add_rows(state["positive"], row_sum(positive), reading.fold)

                def merge(self, state, other):
                    add_fields(state, other)

                def summary(self, state, keep):
                    return state["positive"][keep].sum(0)
    """

    @property
    def reads(self) -> ReadPoint:
        """The point of the model that the statistic reads."""

    @property
    def requires(self) -> frozenset[Need]:
        """The requirements of the statistic: parts of a reading, or properties of the pass."""

    def floats(self, layout: Layout) -> int:
        """Return the number of float64 values that a state holds, for the memory plan.

        Args:
            layout: the sizes of the state.

        Returns:
            The number of values in all folds together.
        """

    def start(self, layout: Layout) -> State:
        """Return an empty state.

        Args:
            layout: the sizes of the state.

        Returns:
            Named tensors; the first axis is the fold, except of a `pivot`.
        """

    def update(self, state: State, reading: Reading) -> None:
        """Add one reading to a state.

        Args:
            state: the state, changed in place.
            reading: the values of one batch at one site.
        """

    def merge(self, state: State, other: State) -> None:
        """Add one state into another, as if the readings had been added one by one.

        Args:
            state: the state that is added to, in place.
            other: the state that is added, of equal layout; not changed.
        """

    def summary(self, state: State, keep: Tensor) -> SummaryT:
        """Return the summary that metrics read, from some folds of a state.

        Args:
            state: the state; not changed.
            keep: True for the folds to use, ``(folds,)`` of bool.

        Returns:
            Means, moments or counts over the samples of these folds.
        """


@frozen(eq=False)
class Visit:
    """The model and rows of one fold, for a statistic with passes of its own.

    Attributes:
        model: the model, in evaluation mode.
        graph: the channel groups of the model.
        batch: rows of one fold, a `nodelens.capture.batches.Batch` on the model's device.
        fold: the fold of these rows.
        loss: a function of output and batch that returns one summed loss per row.
        generator: a random generator seeded by the run's seed and the rows' numbers: the same rows
            draw the same numbers whatever the batching of the folds.
        seed: the run's seed, for draws that shall not depend on the batching at all.
        earlier: the states of the passes that have ended, by group and statistic.
    """

    model: Any
    graph: ChannelGraph
    batch: Any
    fold: int
    loss: Any
    generator: torch.Generator
    seed: int = 0
    earlier: Mapping[str, Mapping[Any, State]] = field(factory=dict)


@runtime_checkable
class PassStatistic(Protocol[SummaryT]):
    """A statistic that runs the model itself: along a path, or for products with the Hessian.

    `visit` takes the place of `Statistic.update`; the other methods are as there. The model is in
    evaluation mode and its parameters need no gradient; `visit` must restore whatever it changes.

    A pass statistic may have more. ``random = True`` says that it draws numbers for parameters: for
    a network with its nodes in another order, summaries then agree within their errors only.
    ``after`` names the statistics whose passes it reads; a metric's `statistics` name them first.
    """

    @property
    def reads(self) -> Literal["model"]:
        """The constant ``model``: no single point is read."""

    @property
    def passes(self) -> str:
        """The runs of the model in words, for the plan: ``50 gradients along a path``."""

    def floats(self, layout: Layout) -> int:
        """Return the number of float64 values that the state of one group holds."""

    def start(self, layout: Layout) -> State:
        """Return an empty state of one group."""

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Run the model on the rows of one fold and add the results to the states.

        Called once for the rows of each fold of each batch.

        Args:
            visit: the model, and the rows.
            states: the states of all groups by name, changed in place.
        """

    def merge(self, state: State, other: State) -> None:
        """Add the state `other` into `state`, in place."""

    def summary(self, state: State, keep: Tensor) -> SummaryT:
        """Return the summary that metrics read, from the folds where `keep` is True."""


AnyStatistic = Statistic[SummaryT] | PassStatistic[SummaryT]
"""A statistic of either kind: updated by readings of hooks, or with passes of its own."""


def covering(wanted: Any, among: Any) -> Any | None:
    """Return the statistic of `among` that is `wanted` or covers it; None without one."""
    if wanted in among:
        return wanted
    return next((each for each in among if _covers(each, wanted)), None)


def _covers(statistic: Any, other: Any) -> bool:
    covers = getattr(statistic, "covers", None)
    return statistic != other and covers is not None and bool(covers(other))
