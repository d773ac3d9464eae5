"""One streaming pass: every planned statistic, nothing stored, the model left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn

from nodelens.capture.batches import Batch, as_batch, row_losses
from nodelens.capture.plan import CapturePlan
from nodelens.capture.reading import folds_of
from nodelens.capture.recorder import Recorder, States
from nodelens.channels.groups import ChannelGraph, Site
from nodelens.errors import CaptureError, DataError
from nodelens.progress import Progress

Loss = Callable[[Any, Batch], Tensor]


@frozen(eq=False)
class CaptureRequest:
    """What to capture; `loss` gives one summed loss per row from output and batch."""

    model: nn.Module
    graph: ChannelGraph
    batches: Iterable[Any]
    plan: CapturePlan
    device: torch.device
    loss: Loss = row_losses
    total: int = 0
    progress: Progress | None = None
    observe: Callable[[Site, Batch], None] | None = None


@frozen(eq=False)
class Capture:
    """The statistics of every group, by fold.

    `rows`, ``(folds,)`` int64, counts samples; `fired` how often each site was read.
    """

    states: States
    rows: Tensor
    plan: CapturePlan
    fired: Mapping[str, int] = field(factory=dict)

    @property
    def samples(self) -> int:
        """The number of samples that went through."""
        return int(self.rows.sum())


def run_capture(request: CaptureRequest) -> Capture:
    """Stream the batches through the model once and return the planned statistics.

    Raises `CaptureError` when a site is never read, when a value is not finite, or when no batch
    came; the model's hooks, modes and gradients are as before in every case.
    """
    plan = request.plan
    recorder = Recorder(plan, observe=request.observe)
    rows = torch.zeros(plan.folds, dtype=torch.int64)
    if plan.passes:
        with untouched(request.model), _hooked(recorder, request.model):
            for batch in _numbered(request):
                _one_batch(request, recorder, batch)
                fold = folds_of(batch.first, batch.rows, plan.folds, torch.device("cpu"))
                rows += torch.bincount(fold, minlength=plan.folds)
                if request.progress:
                    request.progress("capture", int(rows.sum()), request.total)
        _check_fired(recorder, int(rows.sum()))
    return Capture(recorder.states, rows, plan, dict(recorder.fired))


def _numbered(request: CaptureRequest) -> Iterator[Batch]:
    first = 0
    for value in request.batches:
        batch = as_batch(value, first).to(request.device)
        first += batch.rows
        yield batch


def _one_batch(request: CaptureRequest, recorder: Recorder, batch: Batch) -> None:
    gradient = request.plan.gradient
    if request.plan.targets and batch.targets is None:
        raise DataError("class metrics need labels: give (inputs, targets) batches")
    recorder.begin(batch)
    given = _differentiable(batch) if gradient else batch
    with torch.set_grad_enabled(gradient), _rooted(request.model, gradient):
        output = given.call(request.model)
        if gradient:
            losses = _checked_losses(request.loss(output, given), given)
            losses.sum().backward()  # type: ignore[no-untyped-call]
    recorder.end()


def _checked_losses(losses: Any, batch: Batch) -> Tensor:  # noqa: ANN401 - of the user's function
    """Return what a loss gave; raises `DataError` unless it is one loss per row, to differentiate.

    A mean over the batch would make every gradient statistic depend on the batch size.
    """
    advice = f"it must return one summed loss per sample, shape ({batch.rows},)"
    if not isinstance(losses, Tensor):
        raise DataError(f"the loss returned {type(losses).__name__}; {advice}")
    if losses.shape != (batch.rows,):
        shape = tuple(losses.shape)
        raise DataError(f"the loss returned shape {shape}; {advice}: use reduction='none'")
    if not losses.requires_grad:
        raise DataError(f"the loss has no gradient (detached, or under no_grad); {advice}")
    return losses


def _differentiable(batch: Batch) -> Batch:
    """Return the batch with float inputs that require gradients, so that activations have them."""

    def rooted(value: Any) -> Any:  # noqa: ANN401 - whatever the model takes
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.detach().clone().requires_grad_()
        return _normal(value)

    kwargs = {key: rooted(value) for key, value in batch.kwargs.items()}
    args = tuple(rooted(value) for value in batch.args)
    return evolve(batch, args=args, kwargs=kwargs, targets=_normal(batch.targets))


def _normal(value: Any) -> Any:  # noqa: ANN401 - whatever the model takes
    """Return a copy of a tensor made in inference mode, which autograd would refuse."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@contextmanager
def _rooted(model: nn.Module, gradient: bool) -> Iterator[None]:
    """Let gradients start at embeddings too, whose integer inputs have none."""

    def root(module: nn.Module, args: Any, output: Tensor) -> None:  # noqa: ANN401
        output.requires_grad_()

    kinds = (nn.Embedding, nn.EmbeddingBag)
    modules = [m for m in model.modules() if gradient and isinstance(m, kinds)]
    handles = [module.register_forward_hook(root) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _hooked(recorder: Recorder, model: nn.Module) -> Iterator[None]:
    handles = recorder.attach(model)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the model in eval mode with parameters that need no gradient; restore both afterwards."""
    modes = {module: module.training for module in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)


def _check_fired(recorder: Recorder, rows: int) -> None:
    if not rows:
        raise DataError("no calibration batch came; give at least one sample")
    for entry in recorder.plan.entries:
        for statistic in entry.statistics:
            for site in entry.group.at(statistic.tap):
                if not recorder.fired[f"{entry.group.name} @ {site.name}"]:
                    raise CaptureError(
                        f"{site.name} was never read, so {entry.group.name} has no statistics; "
                        "the model takes another path on these batches than on the first one"
                    )
