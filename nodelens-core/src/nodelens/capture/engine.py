"""The streaming passes: every planned statistic, nothing stored, the model left as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor, nn

from nodelens.capture.batches import Batch, as_batch
from nodelens.capture.losses import output_numbers, row_losses, sampled_labels
from nodelens.capture.plan import CapturePlan
from nodelens.capture.reading import folds_of
from nodelens.capture.recorder import Recorder, States
from nodelens.channels.groups import ChannelGraph, Site
from nodelens.errors import CaptureError, DataError, ModelError
from nodelens.progress import Progress
from nodelens.seeding import generator
from nodelens.statistics.contract import PassStatistic, Visit

Loss = Callable[[Any, Batch], Tensor]


@frozen(eq=False)
class CaptureRequest:
    """What to capture; `loss` gives one summed loss per row from output and batch.

    `batches` is read once per pass, so a plan of several passes needs more than an iterator.
    """

    model: nn.Module
    graph: ChannelGraph
    batches: Iterable[Any]
    plan: CapturePlan
    device: torch.device
    loss: Loss = row_losses
    total: int = 0
    progress: Progress | None = None
    observe: Callable[[Site, Batch], None] | None = None
    seed: int = 0


@frozen(eq=False)
class Capture:
    """The statistics of every place, by fold.

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


@define(eq=False)
class _Passes:
    """What all passes of one capture add up."""

    states: States = field(factory=dict)
    rows: Tensor = field(factory=lambda: torch.zeros(0, dtype=torch.int64))
    fired: Counter[str] = field(factory=Counter)


def run_capture(request: CaptureRequest) -> Capture:
    """Stream the batches through the model, once per pass, and return the planned statistics.

    Raises `CaptureError` when a site is never read, when a value is not finite, or when no batch
    came; the model's hooks, modes and gradients are as before in every case.
    """
    plan, done = request.plan, _Passes()
    done.rows = torch.zeros(plan.folds, dtype=torch.int64)
    check_repeatable(request)
    with untouched(request.model):
        for number, entries in enumerate(plan.streams):
            recorder = Recorder(plan, entries, done.states, done.fired, request.observe)
            with _hooked(recorder, request.model):
                for batch in numbered(request):
                    read_batch(request, recorder, batch)
                    _count(request, done, batch, first=number == 0)
            _check_fired(recorder, int(done.rows.sum()))
        for statistic in plan.visits:
            for batch in numbered(request):
                visit_batch(request, statistic, batch, done.states)
                _count(request, done, batch, first=not plan.streams and statistic == plan.visits[0])
    return Capture(done.states, done.rows, plan, dict(done.fired))


def check_repeatable(request: CaptureRequest) -> None:
    """Raise `DataError` when several passes are planned over batches that can be read once."""
    if request.plan.passes > 1 and isinstance(request.batches, Iterator):
        raise DataError(
            f"these metrics read the data {request.plan.passes} times, and the batches are an "
            "iterator, which can be read once: give a list or a DataLoader"
        )


def _count(request: CaptureRequest, done: _Passes, batch: Batch, first: bool) -> None:
    """Count the rows of a batch in the first pass and tell how far the pass is."""
    if first:
        fold = folds_of(batch.numbers.cpu(), request.plan.folds)
        done.rows += torch.bincount(fold, minlength=request.plan.folds)
    if request.progress:
        request.progress("capture", int(done.rows.sum()), request.total)


def numbered(request: CaptureRequest) -> Iterator[Batch]:
    """Yield the batches on the request's device, their rows numbered through."""
    first = 0
    for value in request.batches:
        batch = as_batch(value, first).to(request.device)
        first += batch.rows
        yield batch


def read_batch(request: CaptureRequest, recorder: Recorder, batch: Batch) -> None:
    """Run the model forward, and backward where gradients are read, and update the statistics."""
    needs = frozenset().union(*(s.requires for e in recorder.entries for s in e.statistics))
    graded = bool(needs & {"gradient", "sampled_gradient"}) or any(
        getattr(entry, "place", "") == "weight" for entry in recorder.entries
    )
    if "targets" in needs and batch.targets is None:
        raise DataError("class metrics need labels: give (inputs, targets) batches")
    recorder.begin(batch)
    given = _differentiable(batch) if graded else batch
    with torch.set_grad_enabled(graded), _rooted(request.model, graded):
        output = given.call(request.model)
        recorder.forwarded(output_numbers(output, given) if "outputs" in needs else None)
        if graded:
            _backward(request, recorder, given, output, needs)
    recorder.end()


def _backward(
    request: CaptureRequest,
    recorder: Recorder,
    batch: Batch,
    output: Any,  # noqa: ANN401 - whatever the model returns
    needs: frozenset[str],
) -> None:
    """Run the backward pass of the data's loss, and of the loss with labels of the model's own."""
    both = "sampled_gradient" in needs
    if "gradient" in needs or not both:
        losses = checked_losses(request.loss(output, batch), batch)
        losses.sum().backward(retain_graph=both)  # type: ignore[no-untyped-call]
    if both:
        recorder.label("model")
        losses = checked_losses(request.loss(output, sampled_labels(output, batch)), batch)
        losses.sum().backward()  # type: ignore[no-untyped-call]


def visit_batch(
    request: CaptureRequest, statistic: PassStatistic[Any], batch: Batch, states: States
) -> None:
    """Let a statistic with passes of its own run the model on the rows of each fold."""
    folds = folds_of(batch.numbers.cpu(), request.plan.folds)
    chosen = {entry.name: states.setdefault(entry.name, {}) for entry in request.plan.entries}
    for entry in request.plan.entries:
        layout = request.plan.layout(entry, device=request.device)
        chosen[entry.name].setdefault(statistic, statistic.start(layout))
    for fold in sorted(set(folds.tolist())):
        rows = batch.rows_where(folds == fold)
        random = generator(request.seed, "capture", statistic.passes, *rows.numbers.tolist())
        visit = Visit(request.model, request.graph, rows, fold, request.loss, random)
        statistic.visit(visit, {name: each[statistic] for name, each in chosen.items()})


def checked_losses(losses: Any, batch: Batch) -> Tensor:  # noqa: ANN401 - of the user's function
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
        if not output.requires_grad:
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
    check_hookable(model)
    handles = recorder.attach(model)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_hookable(model: nn.Module) -> None:
    """Raise `ModelError` for compiled modules, on which hooks may silently do nothing."""
    for path, module in model.named_modules():
        compiled = hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        if compiled:
            raise ModelError(
                f"{path or 'the model'} is compiled, and hooks on compiled modules may silently do "
                "nothing; give the model as it was before torch.compile"
            )


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
    for tapped in recorder.tapped():
        if not recorder.fired[tapped.name]:
            raise CaptureError(
                f"{tapped.site.name} was never read, so {tapped.entry.name} has no statistics; "
                "the model takes another path on these batches than on the first one"
            )
