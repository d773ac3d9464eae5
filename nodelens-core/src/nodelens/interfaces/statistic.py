"""What a statistic is: a small frozen description that makes, updates and merges a state."""

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
"""Where a statistic reads.

``activation`` is what a group's consumers read and ``preactivation`` what its producers write, both
``(rows, positions, nodes)``. ``input`` is what a producer's weights are multiplied with, ``(rows,
positions, features)``: a convolution's patches, unfolded. ``weight`` is that and, as `gradient`,
dL/dy of what the producer writes. ``pair`` is a group's activation and, as `partner`, that of the
next group on the same positions. ``block`` is what a residual block or a layer reads and, as
`partner`, what it returns, both on the same nodes. ``loss`` is not about nodes: it is what the
model loses on each row, ``(rows, 1, 2)``: the summed loss, and how many labels it is summed over.
"""

Need = Literal["gradient", "sampled_gradient", "targets", "outputs", "whole_rows", "quadratic"]
"""What a statistic cannot do without, or asks of the pass.

``gradient`` is dL/da; ``sampled_gradient`` dL/da with labels that are drawn from the model's own
predictions (true Fisher). ``targets`` are class labels, ``outputs`` numbers about the model's
output (see `OUTPUTS`): such a statistic is updated when the forward has ended. ``whole_rows`` says
that it needs all of a row at once (a nonlinear function of a sum over the row's positions): where a
group is read at several sites, their positions come in one reading then, else site by site.
``quadratic`` says that its memory grows with a product of widths: it may be kept in fewer folds, to
fit the memory budget. Unless it needs whole rows too, it is a sum over samples that are all alike,
and may be given a share of them (`CapturePlan.position_fraction`).
"""

OUTPUTS = ("margin", "nll", "entropy")
"""What `Reading.outputs` holds of each row or position, in nats but for the margin.

The true logit minus the largest other one, −log p of the label, the entropy of the prediction.
"""


@frozen
class RowSums:
    """Sums over the positions of each row, by which a statistic knows all of a reading it needs.

    `powers`: those of a − pivot up to this one, 0 for none. `magnitudes`: Σ|a| and the extremes.
    `small`: tolerances t, to count |a| ≤ t. `gates`: Σ a·g.
    """

    powers: Literal[0, 2, 4] = 0
    magnitudes: bool = False
    small: frozenset[float] = frozenset()
    gates: bool = False

    @property
    def number(self) -> int:
        """How many numbers of each row and node they are."""
        return self.powers + 3 * self.magnitudes + len(self.small) + self.gates

    def __or__(self, other: RowSums) -> RowSums:
        """Return what either asks for."""
        return RowSums(
            max(self.powers, other.powers),
            self.magnitudes or other.magnitudes,
            self.small | other.small,
            self.gates or other.gates,
        )


SummaryT = TypeVar("SummaryT", covariant=True)


def members_of(fold: Tensor, folds: int) -> Tensor:
    """Return 1 where a row is of a fold, ``(folds, rows)`` float64; `fold` is ``(rows,)``."""
    import torch

    return (fold == torch.arange(folds, device=fold.device).unsqueeze(-1)).double()


@frozen(eq=False)
class Reading:
    """What one site read of one batch.

    `values` and `gradient` have shape ``(rows, positions, nodes)``: a row is one independent unit
    of the data (an image, a sequence), a position one sample within it (a pixel, a token).
    `gradient` is dL/da of the loss *summed* over the batch. `valid`, ``(rows, positions)`` of bool,
    is False at padding; None means that all count. `targets`, ``(rows,)`` of int64, are class
    labels where the data has them, -100 where a row has none. `fold`, ``(rows,)`` of int64, is the
    fold of each row and `index`, ``(rows,)``, its number in the data, which keys random choices.
    Invalid positions hold zeros in `values` and `gradient`.

    `grid` is the shape of the positions where it is more than a line, as ``(height, width)``.
    `parts` is how many neighbouring positions are one sample of a node with several components (the
    dimensions of a head). `outputs`, ``(rows, positions or 1, 3)``, holds `OUTPUTS`. `partner`,
    ``(rows, positions, others)``, is the second tensor of a pair or a block. `pivot`, ``(nodes,)``
    float64, is a point near the mean that all statistics of the site share. `shared` keeps sums
    that several statistics need, for as long as the reading lives.

    `start`, ``(rows,)`` int64, is where a sequence starts in its row of the data, None for 0: two
    sequences packed into one row have the same `index`. `site` counts the sites of a group that are
    read one by one. Both, beside `index`, tell positions apart that are not the same sample.
    """

    values: Tensor
    fold: Tensor
    gradient: Tensor | None = None
    valid: Tensor | None = None
    targets: Tensor | None = None
    index: Tensor | None = None
    grid: tuple[int, ...] = ()
    parts: int = 1
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
        """Return the reading with its folds put together to `folds`; what is shared stays so."""
        return evolve(self, fold=self.fold % folds)


@frozen
class Layout:
    """What a state must know when it starts.

    `width` is the number of nodes or input features, `classes` 0 without labels. `blocks` is the
    number of groups of a grouped convolution, whose input features are then ``blocks`` equal runs.
    `others` is the width of the second tensor: outputs of a weight, nodes of a partner.
    """

    width: int
    folds: int
    device: torch.device | str = "cpu"
    classes: int = 0
    blocks: int = 1
    others: int = 0


@runtime_checkable
class Statistic(Protocol[SummaryT]):
    """A mergeable accumulator. Equal statistics (attrs equality) are shared between metrics.

    Implementations are frozen attrs classes; their modules import without torch. `reads` says where
    it reads, `requires` what it cannot do without. Sums are float64.

    Methods that may be left out: ``covers(other) -> bool`` says that the summary holds all that
    the summary of `other` holds, under the same names. Only the covering one is then kept.
    ``row_sums``, an attribute or property, is the `RowSums` that are all that `update` looks at:
    they are worked out together with those of other statistics, and `update` may be called when the
    batch has ended, with NaN in the place of the values. Of sums of products of pairs they are not
    asked. A class attribute ``additive = True`` says
    that every field but a pivot is a sum over rows, which `rows.add_rows` adds to the reading's
    fold, so that rows can be weighted (see `Bootstrap`).
    """

    @property
    def reads(self) -> ReadPoint:
        """Where it reads."""

    @property
    def requires(self) -> frozenset[Need]:
        """What it cannot do without."""

    def floats(self, layout: Layout) -> int:
        """Return the number of float64 values that a state holds, for the memory plan."""

    def start(self, layout: Layout) -> State:
        """Return an empty state."""

    def update(self, state: State, reading: Reading) -> None:
        """Add one reading to `state`, in place."""

    def merge(self, state: State, other: State) -> None:
        """Add `other` into `state`, in place, as if its readings had been added one by one."""

    def summary(self, state: State, keep: Tensor) -> SummaryT:
        """Return what metrics read, from the folds where `keep`, ``(folds,)`` of bool, is True."""


@frozen(eq=False)
class Visit:
    """What a statistic with passes of its own sees: the model and rows of one fold.

    `batch` is a `nodelens.capture.batches.Batch` on the model's device, `loss` maps output and
    batch to one summed loss per row. `generator` is seeded by the run's seed and the rows' numbers,
    so that the same rows draw the same numbers whatever the batching of the folds; `seed` is the
    run's, for draws that shall not depend on the batching at all. `earlier` holds the states of the
    passes that have ended, by group and statistic.
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

    Like `Statistic`, but for `visit`, which replaces `update`: it is called once for the rows of
    each fold of each batch, with the states of all groups. The model is in evaluation mode and its
    parameters need no gradient; what `visit` changes it must restore.

    What may be left out: ``random = True`` says that it draws numbers for parameters, so that what
    it gives is the same for a network with its nodes in another order within its errors only.
    ``after`` names the statistics whose passes it looks at; a metric's `needs` name them first.
    """

    @property
    def reads(self) -> Literal["model"]:
        """That it reads no one place."""

    @property
    def passes(self) -> str:
        """What it does to the model, for the plan: ``50 gradients along a path``."""

    def floats(self, layout: Layout) -> int:
        """Return the number of float64 values that one group's state holds."""

    def start(self, layout: Layout) -> State:
        """Return an empty state of one group."""

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Run the model and add what it shows to the states, by group, in place."""

    def merge(self, state: State, other: State) -> None:
        """Add `other` into `state`, in place."""

    def summary(self, state: State, keep: Tensor) -> SummaryT:
        """Return what metrics read, from the folds that are kept."""


AnyStatistic = Statistic[SummaryT] | PassStatistic[SummaryT]
"""Either kind: updated by what hooks read, or with passes of its own."""


def covering(wanted: Any, among: Any) -> Any | None:
    """Return the statistic of `among` that answers for `wanted`: itself, or one that covers it."""
    if wanted in among:
        return wanted
    return next((each for each in among if _covers(each, wanted)), None)


def _covers(statistic: Any, other: Any) -> bool:
    covers = getattr(statistic, "covers", None)
    return statistic != other and covers is not None and bool(covers(other))
