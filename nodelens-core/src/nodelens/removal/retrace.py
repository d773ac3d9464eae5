"""A second look at a model whose groups are known: its operators and the axes of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve
from torch import nn

from nodelens.channels.expressions import Variable
from nodelens.channels.groups import ChannelGroup
from nodelens.channels.passes import Pass, fake_pass, real_pass, restored
from nodelens.channels.rules.operation import Operation, Rule
from nodelens.channels.rules.table import RULES
from nodelens.channels.trace import Axes, Trace
from nodelens.removal.forward import FORWARD_ERRORS

Seen = list[Operation]


def retrace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    names: Iterable[str],
    training: bool = False,
) -> tuple[Trace, Seen]:
    """Trace one forward; return the trace and every operator of these names.

    It runs on fake tensors, and where the model's control flow depends on data, on the example
    itself. Raises what the model raises where both fail.
    """
    with restored(model):
        model.train(training)
        try:
            return _traced(fake_pass, Pass(model, args, kwargs, {}), names)
        except FORWARD_ERRORS:
            return _traced(real_pass, Pass(model, args, kwargs, {}), names)


def _traced(
    run: Callable[[Pass, Trace], None], work: Pass, names: Iterable[str]
) -> tuple[Trace, Seen]:
    trace, seen = Trace(), Seen()
    noted = {name: _noted(RULES[name], seen) for name in names if name in RULES}
    run(evolve(work, rules={**RULES, **noted}), trace)
    return trace, seen


def _noted(rule: Rule, seen: Seen) -> Rule:
    def noted(op: Operation) -> Sequence[Axes]:
        axes = rule(op)
        seen.append(op)
        return axes

    return noted


def variable_of(trace: Trace, group: ChannelGroup) -> Variable | None:
    """Return the variable of a trace that a group stands for."""
    for part in group.slices:
        axis = trace.parameters[part.parameter].axes[part.axis]
        for leaf in trace.solver.leaves(axis):
            if leaf.extent == part.extent:
                return leaf.variable
    return None
