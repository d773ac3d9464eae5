"""The equivalence check of a removal: outputs of the smaller model against the masked model.

The two are compared on inputs; agreement there proves nothing about other inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph
from nodelens.errors import ModelError
from nodelens.interfaces.operator import Operators
from nodelens.masks.masking import mask
from nodelens.removal.absent_nodes import Average, averages
from nodelens.removal.attributes import following_inputs, owner_of
from nodelens.removal.bias_repair import BiasRepair
from nodelens.removal.derived import derived, least_vocabulary
from nodelens.removal.double_precision import (
    TOLERANCES,
    has_fractions,
    in_float64,
    own_tolerance,
    relative_difference,
)
from nodelens.removal.forward import Example, Run, forward
from nodelens.removal.journal import Journal
from nodelens.removal.parametrised import computed_weights, keep_values
from nodelens.removal.slicing import Change, TensorCut


@frozen(eq=False)
class RemovalCase:
    """A removal to check: the model, the removed nodes, and the repair of their readers."""

    model: nn.Module
    graph: ChannelGraph
    operators: Operators
    changes: Sequence[Change]
    cuts: Sequence[TensorCut]
    means: Mapping[str, Tensor] | None
    repair: BiasRepair

    @property
    def shifting(self) -> bool:
        """Whether the smaller model may differ from the masked one: `expected` is then needed."""
        return self.repair.padded or any(each.group.normalised for each in self.changes)


@frozen(eq=False)
class Reference:
    """The outputs of the masked model on some inputs, to compare the smaller model with.

    `masked` is the run of the model with the nodes masked. `expected`, needed where a group is
    normalised or means are padded, is the run that the smaller model must agree with: the masked
    model with the nodes left out of every average, and the means in the biases of their readers.
    `averaged` is whether some average was over removed nodes.
    """

    example: Example
    masked: Run
    expected: Run | None
    averaged: bool


@frozen(eq=False)
class References:
    """All references of one equivalence check, the example in evaluation first.

    `limits` says in words what is not compared.
    """

    all: tuple[Reference, ...]
    limits: tuple[str, ...]
    precise: bool
    tolerance: float
    operators: Operators

    @property
    def averaged(self) -> bool:
        """Whether the model averages over removed nodes, so that their number is felt."""
        return any(each.averaged for each in self.all)


@frozen
class Trouble:
    """Where the smaller model fails or first deviates.

    `operators` counts the operators up to there, over all inputs of the check; `calls` is one
    number for the sizes that the operators were given. `line` is the line of the model's code that
    raised an error, if any did.
    """

    operators: int
    module: str
    reason: str
    calls: int = 0
    line: str = ""

    @property
    def at(self) -> tuple[int, int]:
        """A key that is equal for two models with equal calls up to their trouble."""
        return self.operators, self.calls


@frozen
class OutputComparison:
    """The trouble of the smaller model, if any, and its largest difference from the masked one."""

    trouble: Trouble | None
    moved: float


@contextmanager
def comparing(model: nn.Module, against: References) -> Iterator[None]:
    """Hold the model in the precision of the references while the context is open."""
    with in_float64(model, against.precise):
        yield


def references(case: RemovalCase, example: Example) -> References:
    """Run the masked model: in float64, or where its code insists on another type, in its own.

    Raises `ModelError` where the model does not run on the example or returns no tensor.
    """
    precise = _on_cpu_or_cuda(case.model)
    first = _reference(case, example, precise)
    if precise and _error(first) is not None:
        precise = False
        first = _reference(case, example, precise)
    failed = _error(first)
    if failed is not None:
        raise ModelError(
            f"the model does not run on the example inputs: {failed.error} in "
            f"{failed.module or 'the model'}; give the inputs that its forward takes"
        )
    if not any(has_fractions(output) for output in first.masked.outputs):
        raise ModelError("the model returns no tensor that removal could be checked against")
    further, limits = _further(case, first, precise)
    tolerance = TOLERANCES[torch.float64] if precise else own_tolerance(case.model)
    return References((first, *further), tuple(limits), precise, tolerance, case.operators)


def _further(
    case: RemovalCase, first: Reference, precise: bool
) -> tuple[list[Reference], list[str]]:
    """Return references on other inputs and in training, as far as the masked model runs there."""
    found, limits = [], []
    others = derived(first.example, least_vocabulary(case.model))
    tried = (_reference(case, other, precise) for other in others)
    other = next((each for each in tried if _accepted(each, first)), None)
    if other is None:
        limits.append("compared on the example only")
    else:
        found.append(other)
    failed = None
    for example in [each.example for each in (other, first) if each is not None]:
        trained = _reference(case, evolve(example, training=True), precise)
        if _accepted(trained, first):
            return [*found, trained], limits
        failed = failed or _error(trained)
    reason = failed.error if failed else "its outputs there are not finite"
    return found, [*limits, f"not compared in training ({reason})"]


def _accepted(found: Reference, first: Reference) -> bool:
    """Whether the model runs; outputs must be finite only where those on the example are."""
    return _error(found) is None and (found.masked.finite or not first.masked.finite)


def _error(found: Reference) -> Run | None:
    runs = (found.masked, found.expected)
    return next((run for run in runs if run is not None and run.error), None)


def _on_cpu_or_cuda(model: nn.Module) -> bool:
    devices = {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}
    if "meta" in devices:
        raise ModelError(
            "weights on the meta device have no values: load them before nodes are removed"
        )
    return devices <= {"cpu", "cuda"}


def _reference(case: RemovalCase, example: Example, precise: bool) -> Reference:
    keep = {change.group.name: change.kept for change in case.changes}
    model, expected, known = case.model, None, None
    with in_float64(model, precise), _unread(case, example.training):
        with mask(model, case.graph, keep, "mean" if case.means else "zero", case.means):
            masked = forward(model, example, precise, case.operators)
        if case.shifting and not masked.error:
            known = averages(model, example, precise, case.operators, case.changes)
            expected = _expected(case, example, precise, known)
    return Reference(example, masked, expected, any(each.present for each in known or ()))


def _expected(
    case: RemovalCase, example: Example, precise: bool, known: list[Average] | None
) -> Run:
    """Run the masked model with the nodes left out of averages and of computed weights."""
    if known is None:
        return Run(error="the model cannot be traced")
    keep = {change.group.name: change.kept for change in case.changes}
    with mask(case.model, case.graph, keep), _zeroed(case):
        return forward(case.model, example, precise, case.operators, known)


@contextmanager
def _unread(case: RemovalCase, training: bool | None) -> Iterator[None]:
    """Mask nodes for readers in training only: these have no site, so their weights become zero."""
    journal = Journal()
    seen = {site.module for change in case.changes for site in change.group.sites}
    try:
        for cut in case.cuts if training else ():
            if not any(owner_of(name)[0] in seen for name in cut.names):
                data = cut.tensors[0].data.clone()
                for change in case.changes:
                    for part in change.group.role("consumer"):
                        if part.parameter in cut.names:
                            gone = change.dropped(part).to(data.device)
                            data.index_fill_(part.axis, gone, 0)
                for tensor in cut.tensors:
                    journal.set_data(tensor, data)
        yield
    finally:
        journal.undo()


@contextmanager
def _zeroed(case: RemovalCase) -> Iterator[None]:
    """Set the parameters of removed nodes to zero, and repair biases, inside a context."""
    journal = Journal()
    try:
        case.repair.perform(journal)
        computed = computed_weights(case.model, case.cuts, TensorCut.zeroed)
        for cut in case.cuts:
            data = cut.zeroed(cut.tensors[0].data)
            for tensor in cut.tensors:
                journal.set_data(tensor, data)
        keep_values(computed, journal)
        yield
    finally:
        journal.undo()


def compare(model: nn.Module, against: References, journal: Journal) -> OutputComparison:
    """Run the smaller model on all inputs and compare with the references, up to a trouble."""
    passed, moved = 0, 0.0
    for reference in against.all:
        with following_inputs(model, journal):
            run = forward(model, reference.example, against.precise, against.operators)
        found = _trouble(run, reference.masked, against.tolerance)
        if found is not None and reference.expected is not None:
            found = _trouble(run, reference.expected, against.tolerance)
        moved = max(moved, relative_difference(run.outputs, reference.masked.outputs))
        if found is not None:
            return OutputComparison(_placed(found, reference, passed), moved)
        passed += reference.masked.operators
    return OutputComparison(None, moved)


def _placed(found: Trouble, reference: Reference, passed: int) -> Trouble:
    """Return the trouble with its inputs in words, and with the operators passed before."""
    example, reason = reference.example, found.reason
    if passed:
        where = "in training" if example.training else f"on {example.name}"
        reason = f"{reason}, {where}"
    return evolve(found, operators=passed + found.operators, reason=reason)


def _trouble(run: Run, exact: Run, tolerance: float) -> Trouble | None:
    found = _deviation(run, exact, tolerance)
    if run.error:
        return found or Trouble(run.operators, run.module, run.error, run.calls, run.line)
    difference = relative_difference(run.outputs, exact.outputs)
    if difference <= tolerance:
        return None
    reason = f"the outputs differ from the masked model by {difference:.2g} of their scale"
    return found or Trouble(run.operators, "", reason, run.calls)


def _deviation(run: Run, exact: Run, tolerance: float) -> Trouble | None:
    """Return the first module whose output differs from the reference."""
    for here, there in zip(run.glances, exact.glances, strict=False):
        if not here.agrees(there, 10 * tolerance):
            reason = "it returns something else than in the masked model"
            return Trouble(here.operators, here.module, reason, run.calls)
    return None
