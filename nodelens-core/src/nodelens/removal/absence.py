"""Where the nodes that go would be missing: in which averages of the model, at which indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nodelens.channels.expressions import Expression
from nodelens.channels.trace import Trace
from nodelens.removal.averages import ALIASES, PARTIAL, Average, canonical
from nodelens.removal.forward import FORWARD_ERRORS, Example
from nodelens.removal.retrace import retrace, variable_of
from nodelens.removal.slicing import Change


def averages(
    model: nn.Module, example: Example, precise: bool, changes: Sequence[Change]
) -> list[Average] | None:
    """Return every averaging operator of a forward with what is present in it after the changes.

    None where the model cannot be traced in its present precision.
    """
    args, kwargs = example.fresh(precise)
    try:
        trace, seen = retrace(model, args, kwargs, [*PARTIAL, *ALIASES], example.training)
    except FORWARD_ERRORS:
        return None
    dropped = _dropped(trace, changes)
    return [
        Average(
            name=canonical(op.name),
            shape=tuple(op.args[0].shape),
            present={
                axis: kept
                for axis, expression in enumerate(op.axes(op.args[0]))
                if not bool((kept := _present(trace, expression, dropped)).all())
            },
        )
        for op in seen
    ]


def _dropped(trace: Trace, changes: Sequence[Change]) -> dict[int, Tensor]:
    """Return by variable which of its nodes go."""
    found = {}
    for change in changes:
        variable = variable_of(trace, change.group)
        if variable is not None:
            found[variable.number] = ~change.kept
    return found


def _present(trace: Trace, axis: Expression, dropped: Mapping[int, Tensor]) -> Tensor:
    there = torch.ones(axis.size, dtype=torch.bool)
    for leaf in trace.solver.leaves(axis):
        if leaf.variable.number in dropped:
            indices = torch.tensor(leaf.extent.indices())
            there[indices[dropped[leaf.variable.number]].flatten()] = False
    return there
