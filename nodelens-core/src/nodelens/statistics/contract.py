"""What a statistic is: a small frozen description that makes, updates and merges a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nodelens.channels.groups import Tap

State = dict[str, "Tensor"]
"""Named tensors; the first axis is the fold, except of a pivot, which all folds share."""

IGNORED = -100
"""The label of a row or position that does not count, as in torch's cross-entropy."""

SummaryT = TypeVar("SummaryT", covariant=True)


@frozen(eq=False)
class Reading:
    """What one site read of one batch.

    `values` and `gradient` have shape ``(rows, positions, nodes)``: a row is one independent unit
    of the data (an image, a sequence), a position one sample within it (a pixel, a token).
    `gradient` is dL/da of the loss *summed* over the batch. `valid`, ``(rows, positions)`` of bool,
    is False at padding; None means that all count. `targets`, ``(rows,)`` of int64, are class
    labels where the data has them, -100 where a row has none. `fold`, ``(rows,)`` of int64, is the
    fold of each row. Invalid positions hold zeros in `values` and `gradient`.
    """

    values: Tensor
    fold: Tensor
    gradient: Tensor | None = None
    valid: Tensor | None = None
    targets: Tensor | None = None


@frozen
class Layout:
    """What a state must know when it starts; `classes` is 0 without labels."""

    width: int
    folds: int
    device: torch.device | str = "cpu"
    classes: int = 0


@runtime_checkable
class Statistic(Protocol[SummaryT]):
    """A mergeable accumulator. Equal statistics (attrs equality) are shared between metrics.

    Implementations are frozen attrs classes. `tap` says where it reads; `needs_gradient` whether a
    backward pass is needed; `needs_targets` whether labels are. `per_row` says that it needs all of
    a row at once (a nonlinear function of a sum over the row's positions): where a group is read at
    several sites, their positions come in one reading then, else site by site. Sums are float64.
    """

    needs_gradient: ClassVar[bool]
    needs_targets: ClassVar[bool]
    per_row: ClassVar[bool]

    @property
    def tap(self) -> Tap:
        """Where it reads."""

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
