"""The proof of a removal: what the smaller model computes against the masked or zeroed model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from attrs import frozen
from torch import nn

from nodelens.channels.groups import ChannelGraph
from nodelens.errors import ModelError
from nodelens.masks.context import mask
from nodelens.removal.absence import averages
from nodelens.removal.attributes import following_inputs
from nodelens.removal.forward import Example, Run, forward, in_float64, relative_difference
from nodelens.removal.journal import Journal
from nodelens.removal.parametrised import computed_weights, keep_values
from nodelens.removal.slicing import Change, Cut

# The largest difference, relative to the largest output, that rounding can explain.
TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}


@frozen(eq=False)
class Reference:
    """What the removed model is compared with.

    `masked` is the model with the nodes masked. `absent`, needed where a group is normalised, is
    that model with the nodes left out of every average: the removed model must agree with it.
    """

    masked: Run
    absent: Run | None
    precise: bool
    tolerance: float


@frozen
class Trouble:
    """Where the removed model fails or first deviates; `operators` counts how far it came."""

    operators: int
    module: str
    reason: str


@frozen
class Comparison:
    """What is wrong with the removed model, if anything; how far it is from the masked one."""

    trouble: Trouble | None
    moved: float


@contextmanager
def comparing(model: nn.Module, reference: Reference) -> Iterator[None]:
    """Hold the model in the precision of the reference while the context is open."""
    with in_float64(model, reference.precise):
        yield


def reference(
    model: nn.Module,
    graph: ChannelGraph,
    changes: Sequence[Change],
    cuts: Sequence[Cut],
    example: Example,
) -> Reference:
    """Run the masked model: in float64, or where its code insists on another type, in its own.

    Raises `ModelError` where the model does not run on the example or returns no tensor.
    """
    precise = _on_cpu_or_cuda(model)
    found = _passes(model, graph, changes, cuts, example, precise)
    if precise and any(each.error for each in found):
        precise = False
        found = _passes(model, graph, changes, cuts, example, precise)
    for each in found:
        if each.error:
            raise ModelError(
                f"the model does not run on the example inputs: {each.error} in "
                f"{each.module or 'the model'}; give the inputs that its forward takes"
            )
        if not any(output.is_floating_point() for output in each.outputs):
            raise ModelError("the model returns no tensor that removal could be checked against")
    tolerance = TOLERANCES[torch.float64] if precise else own_tolerance(model)
    return Reference(found[0], found[1] if len(found) > 1 else None, precise, tolerance)


def _on_cpu_or_cuda(model: nn.Module) -> bool:
    devices = {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}
    if "meta" in devices:
        raise ModelError(
            "weights on the meta device have no values: load them before nodes are removed"
        )
    return devices <= {"cpu", "cuda"}


def own_tolerance(model: nn.Module) -> float:
    """Return what rounding in the model's own data type can explain."""
    return max(TOLERANCES.get(each.dtype, 0.0) for each in model.parameters())


def _passes(
    model: nn.Module,
    graph: ChannelGraph,
    changes: Sequence[Change],
    cuts: Sequence[Cut],
    example: Example,
    precise: bool,
) -> list[Run]:
    keep = {change.group.name: change.kept for change in changes}
    with in_float64(model, precise), mask(model, graph, keep):
        found = [forward(model, example, precise)]
        if any(change.group.normalised for change in changes):
            found.append(_absent(model, changes, cuts, example, precise))
    return found


def _absent(
    model: nn.Module,
    changes: Sequence[Change],
    cuts: Sequence[Cut],
    example: Example,
    precise: bool,
) -> Run:
    """Run the model without the nodes in its averages, nor in weights computed from others."""
    known = averages(model, example, precise, changes)
    if known is None:
        return Run(error="the model cannot be traced")
    with _zeroed(model, cuts):
        return forward(model, example, precise, known)


@contextmanager
def _zeroed(model: nn.Module, cuts: Sequence[Cut]) -> Iterator[None]:
    """Set what a removal would take away to zero while the context is open."""
    journal = Journal()
    try:
        computed = computed_weights(model, cuts, Cut.zeroed)
        for cut in cuts:
            data = cut.zeroed(cut.tensors[0].data)
            for tensor in cut.tensors:
                journal.set_data(tensor, data)
        keep_values(computed, journal)
        yield
    finally:
        journal.undo()


def compare(model: nn.Module, example: Example, against: Reference, journal: Journal) -> Comparison:
    """Run the removed model on the example and compare it with the reference."""
    with following_inputs(model, journal):
        run = forward(model, example, against.precise)
    found = _trouble(run, against.masked, against.tolerance)
    if found is not None and against.absent is not None:
        found = _trouble(run, against.absent, against.tolerance)
    return Comparison(found, relative_difference(run.outputs, against.masked.outputs))


def _trouble(run: Run, exact: Run, tolerance: float) -> Trouble | None:
    found = _deviation(run, exact, tolerance)
    if run.error:
        return found or Trouble(run.operators, run.module, run.error)
    difference = relative_difference(run.outputs, exact.outputs)
    if difference <= tolerance:
        return None
    reason = f"the outputs differ from the masked model by {difference:.2g} of their scale"
    return found or Trouble(run.operators, "", reason)


def _deviation(run: Run, exact: Run, tolerance: float) -> Trouble | None:
    """Return the first module that returned something else than in the reference."""
    for here, there in zip(run.glances, exact.glances, strict=False):
        if not here.agrees(there, 10 * tolerance):
            reason = "it returns something else than in the masked model"
            return Trouble(here.operators, here.module, reason)
    return None
