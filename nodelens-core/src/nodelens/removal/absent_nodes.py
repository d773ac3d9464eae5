"""The averages of a model that removed nodes enter, and the indices that remain in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor, nn

from nodelens.channels.node_indices import owned_indices
from nodelens.interfaces.operator import AverageRule, Operators
from nodelens.removal.forward import FORWARD_ERRORS, Example
from nodelens.removal.retrace import retrace, variable_of

if TYPE_CHECKING:
    from nodelens.channels.expressions import Expression
    from nodelens.channels.trace import Trace
    from nodelens.removal.slicing import Change


@frozen(eq=False)
class Average:
    """One averaging operator of a forward, and the entries that remain present in it.

    `compute` is the row's `average`, `shape` that of the input. `present` maps axes to
    ``(indices,)`` of bool; axes on which everything is present are left out.
    """

    compute: AverageRule
    shape: tuple[int, ...]
    present: Mapping[int, Tensor]

    def weights(self, x: Tensor) -> Tensor:
        """Return True for the values of a tensor that are present, in the tensor's shape."""
        there = torch.ones(x.shape, dtype=torch.bool, device=x.device)
        for axis, kept in self.present.items():
            sizes = [1] * x.ndim
            sizes[axis] = -1
            there = there & kept.to(x.device).view(sizes)
        return there


def averages(
    model: nn.Module,
    example: Example,
    precise: bool,
    operators: Operators,
    changes: Sequence[Change],
) -> list[Average] | None:
    """Return every averaging operator of a forward, with the entries present after the changes.

    None where the model cannot be traced in its present precision.
    """
    args, kwargs = example.fresh(precise)
    known = {name: row.average for name, row in operators.items() if row.average}
    try:
        trace, seen = retrace(model, args, kwargs, operators, known, bool(example.training))
    except FORWARD_ERRORS:
        return None
    dropped = _dropped(trace, changes)
    return [
        Average(
            compute=compute,
            shape=tuple(op.args[0].shape),
            present={
                axis: kept
                for axis, expression in enumerate(op.axes(op.args[0]))
                if not bool((kept := _present(trace, expression, dropped)).all())
            },
        )
        for compute, op in seen
    ]


def _dropped(trace: Trace, changes: Sequence[Change]) -> dict[int, Tensor]:
    """Return the nodes that are removed, by variable."""
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
            indices = owned_indices(leaf.extent)
            there[indices[dropped[leaf.variable.number]].flatten()] = False
    return there
