"""Logits, losses and numbers per prediction from a model's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor
from torch.nn import functional as F

from nodelens.errors import DataError, ModelError
from nodelens.interfaces.loss import RowLoss
from nodelens.interfaces.statistic import IGNORED
from nodelens.statistics.sample_draws import mix, position_keys

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch

_LABELS = 7
"""Separates the draw of labels from other draws at the same positions."""


OWN_LOSS = (
    "give loss= (a name such as 'mse' or 'bce', or a function of (output, batch) that returns one "
    "summed loss per row)"
)
"""The way out of every ambiguity."""


def logits_of(output: Any, targets: Tensor | None = None) -> Tensor:
    """Return the logits of an output: a tensor, ``.logits``, ``["logits"]`` or an item of a tuple.

    Of several items of a tuple the one whose shape fits the targets is taken, or the first where
    there are no targets. Raises `DataError` where two fit, `ModelError` for an output without any.
    """
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, Mapping):
        logits = output.get("logits")
    if logits is None and isinstance(output, tuple | list) and output:
        logits = _item(output, targets)
    if not isinstance(logits, Tensor):
        keys = f" (it has {', '.join(map(str, output))})" if isinstance(output, Mapping) else ""
        raise ModelError(
            f"the model returned {type(output).__name__} without logits{keys}; {OWN_LOSS}"
        )
    return logits


def _item(output: Sequence[Any], targets: Tensor | None) -> Any:
    if targets is None:
        return output[0]
    tensors = [each for each in output if isinstance(each, Tensor) and each.is_floating_point()]
    fitting = [each for each in tensors if _class_axes(each, targets)]
    if len(fitting) > 1:
        shapes = " and ".join(str(tuple(each.shape)) for each in fitting)
        raise DataError(
            f"the model returned several outputs that fit the labels ({shapes}), and nothing says "
            f"which are the logits; {OWN_LOSS}"
        )
    return fitting[0] if fitting else output[0]


def has_logits(output: Any) -> bool:
    """Return whether `logits_of` finds logits in an output."""
    try:
        logits_of(output)
    except ModelError:
        return False
    return True


def class_logits(output: Any, targets: Tensor, class_axis: int | None = None) -> Tensor:
    """Return the logits of class numbers, with the classes in the last axis.

    The classes are in `class_axis`; None takes the axis that fits the targets, the last one or (as
    in torch's cross-entropy) axis 1. Raises `DataError` where both or neither fit, for labels that
    are no class numbers, and for a single output, whose cross-entropy is always 0.
    """
    logits = logits_of(output, targets)
    axes = _class_axes(logits, targets)
    if class_axis is not None:
        axes = [axis for axis in axes if axis == class_axis % logits.ndim]
    _check_kind(logits, targets, axes)
    if len(axes) > 1:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} fit labels of shape {tuple(targets.shape)} in "
            f"two ways, with the classes in axis 1 or in the last axis: give loss={{'name': "
            "'cross_entropy', 'class_axis': 1}, or -1"
        )
    found = logits.movedim(axes[0], -1)
    _check_range(found.shape[-1], targets)
    return found


def _class_axes(logits: Tensor, targets: Tensor) -> list[int]:
    """Return the axes of logits that can be the classes of targets in all other axes."""
    axes = {1, logits.ndim - 1} if logits.ndim > 1 else set()
    return [a for a in sorted(axes) if (*logits.shape[:a], *logits.shape[a + 1 :]) == targets.shape]


def _check_kind(logits: Tensor, targets: Tensor, axes: list[int]) -> None:
    """Raise `DataError` unless the targets are class numbers in the shape of the logits."""
    shapes = (
        f"logits of shape {tuple(logits.shape)} do not fit targets of shape {tuple(targets.shape)}"
    )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        same = targets.shape == logits.shape
        if targets.dtype == torch.bool and axes:
            raise DataError("targets must be class indices, got torch.bool; write labels.long()")
        advice = "loss='bce' for several labels a row, loss='mse' for numbers" if same else OWN_LOSS
        raise DataError(f"targets must be class indices, got {targets.dtype}; {advice}")
    if not axes and targets.shape == (len(logits), 1) and logits.ndim == 2:
        raise DataError(f"{shapes}; write labels.squeeze(1) for one class number a row")
    if not axes:
        raise DataError(f"{shapes}; {OWN_LOSS}")
    if logits.shape[axes[0]] == 1:
        raise DataError(
            "the model has one output, whose cross-entropy is always 0: give loss='bce' for a yes "
            "or no (labels 0 and 1), loss='mse' for a number"
        )


def _check_range(classes: int, targets: Tensor) -> None:
    """Raise `DataError` for labels without a logit; an index out of range would end CUDA."""
    counted = targets[targets != IGNORED]
    if not counted.numel():
        return
    least, largest = int(counted.min()), int(counted.max())
    if least >= 0 and largest < classes:
        return
    wrong = largest if largest >= classes else least
    advice = (
        "; write labels - 1 if they start at 1" if (wrong, least > 0) == (classes, True) else ""
    )
    raise DataError(
        f"label {wrong} does not fit a model of {classes} outputs "
        f"(0 to {classes - 1}; {IGNORED} is left out){advice}"
    )


def targets_of(batch: Batch, like: Tensor | None = None) -> Tensor:
    """Return the labels, with -100 where the batch's mask says that a position does not count."""
    if batch.targets is None:
        raise DataError(
            "gradient metrics and evaluations need labels: give (inputs, targets) batches or loss="
        )
    targets = batch.targets if like is None else batch.targets.to(like.device)
    if batch.mask is None or targets.shape != batch.mask.shape or targets.is_floating_point():
        return targets
    return targets.masked_fill(~batch.mask.bool().to(targets.device), IGNORED)


def row_losses(output: Any, batch: Batch, class_axis: int | None = None) -> Tensor:
    """Return the cross-entropy of every row in nats, ``(rows,)``: the *sum* over its positions.

    Positions labelled -100 and masked positions do not count; see `class_logits`.
    """
    targets = targets_of(batch)
    logits = class_logits(output, targets, class_axis)
    targets = targets.to(logits.device)
    flat = F.cross_entropy(
        logits.flatten(0, -2).float() if logits.dtype.itemsize < 4 else logits.flatten(0, -2),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return flat.view(len(targets), -1).sum(1)


def counts_of(loss: Any, batch: Batch) -> Tensor:
    """Return the number of labels in the sum of each row, as a loss or a plain function has it."""
    return loss.counts(batch) if isinstance(loss, RowLoss) else label_counts(batch)


def drawn_labels(loss: Any, output: Any, batch: Batch, seed: int = 0) -> Batch:
    """Return the batch with labels drawn from the model's predictions, as a loss has it.

    Another seed than 0 gives the rows other numbers, which the draws belong to.
    """
    rows = evolve(batch, index=mix(mix(batch.numbers) + seed % 2**31)) if seed else batch
    if not isinstance(loss, RowLoss):
        found = sampled_labels(output, rows)
    elif loss.distribution == "classes":
        found = sampled_labels(loss.logits(output, rows), rows, -1)
    else:
        found = loss.sampled(output, rows)
    return evolve(found, index=batch.index)


def numbers_of(loss: Any, output: Any, batch: Batch) -> Tensor:
    """Return margin, −log p and entropy of every prediction, as a loss has it."""
    if not isinstance(loss, RowLoss):
        return output_numbers(output, batch)
    return output_numbers(loss.logits(output, batch), batch, -1)


def logits_by(loss: Any, output: Any, batch: Batch) -> Tensor:
    """Return the logits of classes in the last axis, as a loss has them."""
    if isinstance(loss, RowLoss) and loss.distribution == "classes":
        return loss.logits(output, batch)
    return class_logits(output, targets_of(batch))


def label_counts(batch: Batch) -> Tensor:
    """Return the number of labels that the loss of each row is summed over, ``(rows,)`` int64.

    One for each row where the targets are no class indices, or where there are none: the labels of
    a user's own loss are unknown.
    """
    targets = batch.targets
    if targets is None or targets.is_floating_point() or len(targets) != batch.rows:
        return torch.ones(batch.rows, dtype=torch.int64)
    labelled = targets != IGNORED
    if batch.mask is not None and targets.shape == batch.mask.shape:
        labelled = labelled & batch.mask.bool().to(targets.device)
    return labelled.flatten(1).sum(1) if targets.ndim > 1 else labelled.long()


def sampled_labels(output: Any, batch: Batch, class_axis: int | None = None) -> Batch:
    """Return the batch with labels drawn from the model's own predictions, as in the true Fisher.

    A label belongs to its row and its place among the row's tokens: batching, order and padding do
    not change the draw. Labels of -100 are kept.
    """
    if batch.targets is None:
        raise DataError("labels are drawn in place of the data's: give (inputs, targets) batches")
    logits = class_logits(output, batch.targets, class_axis).detach()
    uniform = uniform_numbers(logits[..., 0], batch).unsqueeze(-1)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulative, uniform).squeeze(-1).clamp(max=logits.shape[-1] - 1)
    known = batch.targets.to(logits.device)
    return evolve(batch, targets=drawn.where(known != IGNORED, known))


def uniform_numbers(like: Tensor, batch: Batch) -> Tensor:
    """Return a number in [0, 1) for each prediction, by its row and its place among the tokens."""
    rows, shape = len(like), like.shape
    keys = position_keys(batch.numbers.to(like.device), like.numel() // rows, _LABELS)
    if batch.mask is not None and batch.mask.shape == shape:
        place = batch.mask.to(like.device).long().cumsum(1) - 1
        keys = keys.gather(1, place.clamp(min=0))
    return (keys.double() / 2.0**63).view(shape)


def output_numbers(output: Any, batch: Batch, class_axis: int | None = None) -> Tensor:
    """Return margin, −log p and entropy of every prediction, ``(rows, positions or 1, 3)`` float64.

    Rows or positions without a label have NaN in the first two.
    """
    if batch.targets is None:
        raise DataError("metrics of a target need labels: give (inputs, targets) batches")
    logits = class_logits(output, batch.targets, class_axis).detach().double()
    targets = batch.targets.to(logits.device)
    log_p = logits.log_softmax(-1)
    label = targets.clamp(min=0).unsqueeze(-1)
    true = logits.gather(-1, label)
    best = logits.scatter(-1, label, -torch.inf).amax(-1, keepdim=True)
    labelled = (targets != IGNORED).unsqueeze(-1)
    margin, nll = (
        value.where(labelled, value.new_tensor(torch.nan))
        for value in (true - best, -log_p.gather(-1, label))
    )
    entropy = -(log_p.exp() * log_p).sum(-1, keepdim=True)
    return torch.cat([margin, nll, entropy], dim=-1).reshape(len(logits), -1, 3)
