"""What labels mean to a transformers model: found by its own loss, never by their shape alone."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn import functional

from nodelens.capture.engine import untouched
from nodelens.errors import DataError
from nodelens.interfaces.loss import LabelMeaning, Loss, ModelLabels
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf.class_labels import names_of, unnamed
from nodelens_hf.own_losses import CLASSES, loss_of_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from nodelens.capture.batches import Batch

_ROUTERS = "output_router_logits"
"""The argument of models with routers that adds the routers' own terms to the loss."""
_CLOSE = {torch.float32: 1e-4, torch.float64: 1e-4}
_HALF = 2e-2
"""The relative difference below which two losses are one, by the precision of the model."""


@frozen(eq=False)
class _Reading:
    """One way to read labels: the loss, and the labels in the places of the outputs."""

    name: str
    loss: Loss
    targets: Callable[[Batch], Tensor]


def labels_of(model: object) -> ModelLabels | None:
    """Return what a transformers model says about labels; None for any other model."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return None
    names = names_of(model.config)
    known = () if unnamed(names) else names
    return ModelLabels(lambda batch: interpret(model, batch), known)


def interpret(model: PreTrainedModel, batch: Batch) -> LabelMeaning:
    """Return what the labels of a batch mean to the model.

    Every way to read them that fits is compared with the loss that the model returns for them.
    Without labels among the arguments they are in the places of the outputs already.
    """
    labels = batch.kwargs.get("labels")
    if batch.args or batch.targets is None or not isinstance(labels, Tensor):
        loss = _row_loss(model, batch.targets)
        return LabelMeaning(loss, lambda each: _given(each))
    kept = _made_into_inputs(model, batch)
    with untouched(model), torch.no_grad(), _same_config(model):
        returned = evolve(batch, kwargs={**batch.kwargs, **_without_routers(model)}).call(model)
        output = returned if kept else evolve(batch, kwargs=_without_labels(batch)).call(model)
    found = _matching(model, output, batch, returned.get("loss"))
    if isinstance(found, str):
        return LabelMeaning(None, _given, kept, problem=found)
    return LabelMeaning(found.loss, found.targets, kept, _left_out(model, batch))


def _given(batch: Batch) -> Tensor:
    assert batch.targets is not None
    return batch.targets


def following(batch: Batch) -> Tensor:
    """Return labels one position earlier, where they are predicted; those of padding are none."""
    labels = _given(batch)
    if batch.mask is not None and batch.mask.shape == labels.shape:
        labels = labels.masked_fill(~batch.mask.to(labels.device), IGNORED)
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _readings(model: PreTrainedModel, labels: Tensor, logits: Tensor) -> Iterator[_Reading]:
    """Yield the ways to read labels that fit their shape and that of the logits."""
    if labels.ndim == logits.ndim - 1 and logits.ndim == 3:
        yield _Reading("of its own position", CLASSES, _given)
        yield _Reading("of the next position", CLASSES, following)
    elif logits.ndim == 2:
        yield _Reading("of the row", _row_loss(model, labels), _given)


def _row_loss(model: PreTrainedModel, labels: Tensor | None) -> Loss:
    """Return the loss of one label per row, by the rule of transformers."""
    real = labels is not None and labels.is_floating_point()
    return loss_of_rows(model.config, _classifies(model), real)


def _classifies(model: PreTrainedModel) -> bool:
    return "Classification" in type(model).__name__


def _matching(model: PreTrainedModel, output: Any, batch: Batch, own: Any) -> _Reading | str:
    """Return the way to read the labels that gives the model's own loss, or why there is none."""
    name, logits = type(model).__name__, output.get("logits")
    if not isinstance(own, Tensor) or own.ndim or not isinstance(logits, Tensor):
        return f"{name} returns no loss for these labels that is one number"
    assert batch.targets is not None
    readings = {
        each: _mean(each, logits, batch) for each in _readings(model, batch.targets, logits)
    }
    close = _CLOSE.get(logits.dtype, _HALF)
    theirs = float(own)
    fits = [
        each
        for each, mean in readings.items()
        if abs(mean - theirs) <= close * max(abs(theirs), 1e-6)
    ]
    if len(fits) > 1 or theirs != theirs:  # equal losses, or no label that counts
        fits = [each for each in readings if each.name == _said(model)]
    if len(fits) == 1:
        return fits[0]
    listed = ", ".join(f"{mean:.4g} for labels {each.name}" for each, mean in readings.items())
    return (
        f"the loss of {name} is {theirs:.4g} on the first batch, which is no cross-entropy of its "
        f"logits that is known here ({listed or 'none fits the shapes'})"
    )


def _mean(reading: _Reading, logits: Tensor, batch: Batch) -> float:
    """Return the mean over all labels, as the model takes it: padding counts where labelled."""
    whole = evolve(batch, mask=None, decoder_mask=None)
    aligned = evolve(whole, targets=reading.targets(whole))
    try:
        total = reading.loss.row_losses(logits, aligned).sum()
    except DataError:
        return float("nan")
    counts: Any = reading.loss
    return float(total / counts.counts(aligned).sum())


def _said(model: PreTrainedModel) -> str:
    """Return the way to read labels that the model's class is known for."""
    from transformers.models.auto import modeling_auto as listed

    name = type(model).__name__
    causal = name in listed.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return "of the next position" if causal else "of its own position"


def _made_into_inputs(model: PreTrainedModel, batch: Batch) -> bool:
    """Return whether the model makes the inputs of its decoder from the labels of a batch."""
    decoded = any(
        batch.kwargs.get(f"decoder_{name}") is not None for name in ("input_ids", "inputs_embeds")
    )
    labels = batch.kwargs["labels"]
    tokens = labels.ndim == 2 and not labels.is_floating_point() and not _classifies(model)
    return bool(model.config.is_encoder_decoder) and tokens and not decoded


def _without_labels(batch: Batch) -> dict[str, Any]:
    return {key: value for key, value in batch.kwargs.items() if key != "labels"}


def _without_routers(model: PreTrainedModel) -> dict[str, bool]:
    return {_ROUTERS: False} if _has_routers(model) else {}


def _has_routers(model: PreTrainedModel) -> bool:
    return _ROUTERS in inspect.signature(model.forward).parameters


def _left_out(model: PreTrainedModel, batch: Batch) -> tuple[str, ...]:
    """Return the terms that the model would add to its loss."""
    asked: Mapping[str, Any] = batch.kwargs
    wanted = asked.get(_ROUTERS, getattr(model.config, _ROUTERS, False))
    return ("router terms (router_aux_loss_coef)",) if _has_routers(model) and wanted else ()


@contextmanager
def _same_config(model: PreTrainedModel) -> Iterator[None]:
    """Restore what a model writes to its configuration when it sees labels."""
    before = copy.copy(getattr(model.config, "problem_type", None))
    try:
        yield
    finally:
        if hasattr(model.config, "problem_type"):
            model.config.problem_type = before
