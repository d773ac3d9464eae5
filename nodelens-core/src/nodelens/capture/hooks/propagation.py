"""One batch in the model: forward, backward where gradients are read, or a visit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nodelens.capture.hooks.edge_gradients import begun, can_begin
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.losses import counts_of, drawn_labels, numbers_of
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.statistic import PassStatistic, Visit
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.checkpoint.spilled_states import StateMap
    from nodelens.capture.hooks.accumulator import States
    from nodelens.capture.hooks.hook_points import HookPoint
    from nodelens.capture.hooks.recorder import Recorder
    from nodelens.capture.request import CaptureRequest


def read_batch(request: CaptureRequest, recorder: Recorder, batch: Batch) -> None:
    """Run the model forward, and backward where gradients are read, and update the statistics."""
    needs = frozenset().union(*(s.requires for e in recorder.entries for s in e.statistics))
    graded = any(point.graded for point in recorder.points)
    if "targets" in needs and (batch.targets is None or batch.segments is not None):
        raise DataError(
            "class metrics need one label per row: give (inputs, targets) batches, not packed"
        )
    if graded:
        check_differentiable(request.model)
    recorder.begin(batch)
    try:
        _read(request, recorder, batch, needs)
        recorder.end()
    except DataError as error:
        raise DataError(f"batch {batch.number}: {error}" if batch.number else str(error)) from error
    finally:
        recorder.forget()


def _read(request: CaptureRequest, recorder: Recorder, batch: Batch, needs: frozenset[str]) -> None:
    graded = any(point.graded for point in recorder.points)
    given = _differentiable(batch) if graded else batch
    points = recorder.points if graded else ()
    with torch.set_grad_enabled(graded), _rooted(request.model, points):
        output = given.call(request.model)
        numbers = numbers_of(request.loss, output, given) if "outputs" in needs else None
        recorder.forwarded(numbers)
        if graded:
            _backward(request, recorder, given, output, needs)
        elif recorder.reads_losses:
            losses = checked_losses(request.scored(output, given), given)
            recorder.take_losses(losses, counts_of(request.scored, given))


def check_differentiable(model: nn.Module) -> None:
    """Raise `ModelError` for weights through which no gradient can be taken."""
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ModelError(
            "the model's weights were made in torch.inference_mode, so that no gradient can be "
            "taken; build or load the model outside of it"
        )


def _backward(
    request: CaptureRequest,
    recorder: Recorder,
    batch: Batch,
    output: Any,
    needs: frozenset[str],
) -> None:
    """Run the backward pass of the data's loss, and of the loss with labels of the model's own."""
    both = "sampled_gradient" in needs
    data = "gradient" in needs or not both
    if data or recorder.reads_losses:
        losses = checked_losses(request.scored(output, batch), batch)
    if recorder.reads_losses:
        recorder.take_losses(losses, counts_of(request.scored, batch))
    if data:
        _propagate(recorder, "data", losses, retain=both)
    if both:
        drawn = drawn_labels(request.loss, output, batch, request.seed)
        _propagate(recorder, "model", checked_losses(request.loss(output, drawn), batch))


def _propagate(recorder: Recorder, labels: str, losses: Tensor, retain: bool = False) -> None:
    """Run the backward pass of losses; what reads its gradients is given up where that fails."""
    if not losses.requires_grad:
        recorder.lose_gradients(labels, "the loss has no gradient (detached, or under no_grad)")
        return
    recorder.begin_backward(labels)
    try:
        losses.sum().backward(retain_graph=retain)  # type: ignore[no-untyped-call]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        recorder.lose_missing(f"the backward pass failed: {error}")


def visit_batch(
    request: CaptureRequest,
    statistic: PassStatistic[Any],
    batch: Batch,
    states: States,
    earlier: StateMap,
) -> None:
    """Let a statistic with passes of its own run the model on the rows of each fold.

    It sees the groups that can be read, until its code has failed once.
    """
    folds = folds_of(batch.numbers.cpu(), request.plan.folds)
    entries = [
        entry
        for entry in request.plan.entries
        if not request.graph.unreadable(entry.group, "activation")
    ]
    chosen = {entry.name: states.setdefault(entry.name, {}) for entry in entries}
    for entry in entries:
        layout = request.plan.layout(entry, device=request.device)
        chosen[entry.name].setdefault(statistic, statistic.start(layout))
    for fold in sorted(set(folds.tolist())):
        rows = batch.rows_where(folds == fold)
        random = generator(request.seed, "capture", statistic.passes, *rows.numbers.tolist())
        visit = Visit(
            request.model,
            request.graph,
            rows,
            fold,
            request.scored,
            random,
            request.seed,
            earlier,
        )
        statistic.visit(visit, {name: each[statistic] for name, each in chosen.items()})


def checked_losses(losses: Any, batch: Batch) -> Tensor:
    """Return the losses; raises `DataError` unless they are one loss per row.

    A mean over the batch would make every gradient statistic depend on the batch size.
    """
    advice = _advice(batch)
    if not isinstance(losses, Tensor):
        raise DataError(f"the loss returned {type(losses).__name__}; {advice}")
    if losses.shape != (batch.rows,):
        shape = tuple(losses.shape)
        raise DataError(f"the loss returned shape {shape}; {advice}: use reduction='none'")
    return losses


def _advice(batch: Batch) -> str:
    return f"it must return one summed loss per sample, shape ({batch.rows},)"


def _differentiable(batch: Batch) -> Batch:
    """Return the batch with float inputs that carry gradients, so that activations have them.

    The inputs are no leaves, so that a model may change them in place.
    """

    def rooted(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return _normal(value).detach().requires_grad_().clone()
        return _normal(value)

    kwargs = {key: rooted(value) for key, value in batch.kwargs.items()}
    args = tuple(rooted(value) for value in batch.args)
    return evolve(batch, args=args, kwargs=kwargs, targets=_normal(batch.targets))


def _normal(value: Any) -> Any:
    """Return a copy of a tensor made in inference mode, which autograd would refuse."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@contextmanager
def _rooted(model: nn.Module, points: Sequence[HookPoint]) -> Iterator[None]:
    """Let gradients begin at embeddings and graded outputs whose inputs have none."""

    def begin(value: Any) -> Any:
        own = isinstance(value, Tensor) and not value.requires_grad and can_begin(value)
        return begun(value) if own else value

    def root(module: nn.Module, args: Any, output: Any) -> Any:
        return tree_map(begin, output) if isinstance(output, tuple) else begin(output)

    kinds = (nn.Embedding, nn.EmbeddingBag)
    read = {point.site.module for point in points if point.graded and point.site.end == "output"}
    modules = [
        module
        for path, module in model.named_modules()
        if path in read or (points and isinstance(module, kinds))
    ]
    handles = [module.register_forward_hook(root, prepend=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
