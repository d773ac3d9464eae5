"""Groups of nodes that no weight writes: model inputs, a vocabulary, experts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from nodelens.channels.groups import ChannelGroup, ParameterSlice

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.expressions import Variable
    from nodelens.channels.trace import Trace

KINDS = {"model input": "inputs", "vocabulary": "vocabulary"}


def fixed_groups(
    model: nn.Module,
    trace: Trace,
    found: Iterable[tuple[Variable, Sequence[ParameterSlice]]],
    shown: Iterable[ParameterSlice],
) -> Iterator[ChannelGroup]:
    """Yield a frozen group without sites for every variable that no other group stands for.

    These are the variables with an axis of a used parameter that is not among the axes of `shown`.
    Positions of convolution kernels are left out, and variables of buffers alone.
    """
    learned = set(dict(model.named_parameters())) & trace.used
    known = _kernels(trace) | {(part.parameter, part.axis) for part in shown}
    for variable, slices in found:
        kept = [part for part in slices if part.parameter in learned]
        if all((part.parameter, part.axis) in known for part in kept):
            continue
        reason = variable.frozen or _reason(slices)
        kind = KINDS.get(reason.partition(" (")[0], "fixed")
        place = kept[0].parameter.rpartition(".")[0] or "model"
        yield ChannelGroup(f"{place}:{kind}", kind, variable.size, tuple(slices), frozen=reason)


def _kernels(trace: Trace) -> set[tuple[str, int]]:
    """Return the axes of convolution weights that run over the positions of the kernel."""
    return {
        (name, axis)
        for contraction in trace.contractions
        if contraction.operator and contraction.operator.name == "convolution"
        for name in contraction.parameters
        for axis in range(2, len(trace.parameters[name].axes))
    }


def _reason(slices: Sequence[ParameterSlice]) -> str:
    if any(part.role == "consumer" for part in slices):
        return "no weight writes it"
    return "parameters alone are combined along it, or entries with the model's inputs"
