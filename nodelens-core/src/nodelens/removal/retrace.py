"""A second trace of a model whose groups are known, which records chosen operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from nodelens.channels.passes import Pass, fake_pass, real_pass, restored
from nodelens.channels.trace import Trace
from nodelens.removal.forward import FORWARD_ERRORS

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.expressions import Axes, Variable
    from nodelens.channels.groups import ChannelGroup
    from nodelens.channels.rules.operation import Operation
    from nodelens.interfaces.operator import AxisRule, Operators

Known = TypeVar("Known")


def retrace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    operators: Operators,
    known: Mapping[str, Known],
    training: bool = False,
) -> tuple[Trace, list[tuple[Known, Operation]]]:
    """Trace one forward; return the trace and every operator with an entry in `known`.

    `known` is keyed by the name of the operator's row. The forward runs on fake tensors, and where
    the model's control flow depends on data, on the example itself. Raises what the model raises
    where both fail.
    """
    work = Pass(model, args, kwargs, operators)
    with restored(model):
        model.train(training)
        try:
            return _traced(fake_pass, work, known)
        except FORWARD_ERRORS:
            return _traced(real_pass, work, known)


def _traced(
    run: Callable[[Pass, Trace], None], work: Pass, known: Mapping[str, Known]
) -> tuple[Trace, list[tuple[Known, Operation]]]:
    trace = Trace()
    seen: list[tuple[Known, Operation]] = []
    noted = {
        name: evolve(row, rule=_noted(row.rule, known[name], seen))
        for name, row in work.operators.items()
        if name in known
    }
    run(evolve(work, operators={**work.operators, **noted}), trace)
    return trace, seen


def _noted(rule: AxisRule, known: Known, seen: list[tuple[Known, Operation]]) -> AxisRule:
    def noted(op: Operation) -> Sequence[Axes]:
        axes = rule(op)
        seen.append((known, op))
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
