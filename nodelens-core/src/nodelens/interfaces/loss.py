"""The interface of losses: what a model is to minimise, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Distribution = Literal["classes", "binary"]
"""The labels that a model gives probabilities to: one of several classes, or yes or no for each."""


@frozen(kw_only=True)
class LossInfo:
    """The metadata of a loss.

    Attributes:
        unit: the unit of the value of a label, such as ``nats``.
        higher_is_better: True for what is to be maximised; it is then minimised with the sign
            changed.
        distribution: what the model's outputs are a distribution over, ``classes`` or ``binary``;
            None where they are none: then there is no true Fisher, and there are no classes.
    """

    unit: str = field(validator=validators.min_len(1))
    higher_is_better: bool = field(default=False, validator=validators.instance_of(bool))
    distribution: Distribution | None = None


@runtime_checkable
class Loss(Protocol):
    """A loss: a frozen attrs class whose fields are its options.

    A loss may have more. ``counts(batch)`` gives the number of labels in the sum of each row,
    ``(rows,)`` int64, one without it. ``logits(output, batch)``, which a loss over classes must
    have, returns the logits with the classes in the last axis; ``sampled(output, batch)``, which
    one of yes and no must have, the batch with labels drawn from the model. ``batch_mean(output,
    batch)`` returns what training minimises, the sum of losses over the number of labels without
    it. ``check(allowed)`` raises an error before anything is done, as for code that is not allowed.
    ``with_classes(names)`` returns the loss with numbers in place of names of classes.
    ``row_sums(output, batch)`` returns numbers of each row by name, ``(rows,)`` each, and
    ``measures(sums)`` turns their sums over rows into what is reported in place of an accuracy, by
    name; `sums` may hold arrays, one sum for each left out row, for the standard errors.

    Example:
        ::

            @frozen
            class Absolute:
                \"\"\"Absolute error of numbers.\"\"\"

                info = LossInfo(unit="units of the targets")

                def row_losses(self, output, batch):
                    return (output - batch.targets).abs().flatten(1).sum(1)
    """

    @property
    def info(self) -> LossInfo:
        """The unit, the direction and the distribution of the loss."""

    def row_losses(self, output: Any, batch: Any) -> Tensor:
        """Compute the loss of every row, summed over the row's labels.

        Args:
            output: what the model returned.
            batch: a `nodelens.capture.batches.Batch`, with the labels in `targets`.

        Returns:
            One number per row, ``(rows,)``, never a mean over the batch.

        Raises:
            DataError: for labels that do not fit, with what to do.
        """


@frozen(eq=False)
class RowLoss:
    """A loss as every stage calls it: one number per row, to be minimised."""

    loss: Loss
    name: str

    def __call__(self, output: Any, batch: Any) -> Tensor:
        """Return the loss of every row, ``(rows,)``; of what is to be maximised minus the value."""
        found = self.loss.row_losses(output, batch)
        return -found if self.loss.info.higher_is_better else found

    @property
    def unit(self) -> str:
        """The unit of a label's loss."""
        sign = "-" if self.loss.info.higher_is_better else ""
        return f"{sign}{self.loss.info.unit}"

    @property
    def distribution(self) -> Distribution | None:
        """What the model's outputs are a distribution over."""
        return self.loss.info.distribution

    def counts(self, batch: Any) -> Tensor:
        """Return the number of labels in the sum of each row, ``(rows,)`` int64."""
        counts = getattr(self.loss, "counts", None)
        if counts is not None:
            found: Tensor = counts(batch)
            return found
        import torch

        return torch.ones(batch.rows, dtype=torch.int64)

    def sampled(self, output: Any, batch: Any) -> Any:
        """Return the batch with labels of yes and no that are drawn from the model."""
        return self.loss.sampled(output, batch)  # type: ignore[attr-defined]

    def logits(self, output: Any, batch: Any) -> Tensor:
        """Return the logits of a loss over classes, with the classes in the last axis."""
        found: Tensor = self.loss.logits(output, batch)  # type: ignore[attr-defined]
        return found

    def batch_mean(self, output: Any, batch: Any, **options: float) -> Tensor:
        """Return the mean loss of a label, which training minimises."""
        mean = getattr(self.loss, "batch_mean", None)
        if mean is not None:
            found: Tensor = mean(output, batch, **options)
            return -found if self.loss.info.higher_is_better else found
        return self(output, batch).sum() / self.counts(batch).sum()

    def row_sums(self, output: Any, batch: Any) -> Mapping[str, Tensor]:
        """Return the numbers of each row that `measures` needs the sums of."""
        sums = getattr(self.loss, "row_sums", None)
        return {} if sums is None else sums(output, batch)

    def measures(self, sums: Mapping[str, Any]) -> Mapping[str, NDArray[Any]]:
        """Return what is reported in place of an accuracy, by name."""
        return {} if not sums else self.loss.measures(sums)  # type: ignore[attr-defined]


@frozen(eq=False)
class LabelMeaning:
    """What the labels of a mapping mean to a model, found on the first batch.

    `loss` is the model's own loss of its outputs and the targets; None where it cannot be told,
    for the reason `problem`. `targets` returns the labels of a batch in the places of the outputs
    that predict them. `kept` says that the model makes inputs of its labels, which stay in the
    call; these are then what its decoder reads. `left_out` are terms of the loss that the model
    returns which are not part of `loss`.
    """

    loss: Loss | None
    targets: Callable[[Any], Tensor]
    kept: bool = False
    left_out: tuple[str, ...] = ()
    problem: str = ""


@frozen(eq=False)
class ModelLabels:
    """What a model's type says about labels.

    `interpret` finds what the labels of a batch mean, a `nodelens.capture.batches.Batch` with the
    model's ``labels`` among its arguments if it has any. `class_names` are the names of the
    outputs, in their order, where the model knows them.
    """

    interpret: Callable[[Any], LabelMeaning]
    class_names: tuple[str, ...] = ()
