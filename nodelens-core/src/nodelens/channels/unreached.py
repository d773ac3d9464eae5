"""Parameters that the traced forward did not use, and the nodes frozen because of them.

An expert that no token was sent to, or a head that is used in training only, reads nodes without
the trace recording it: their groups must not lose any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.expressions import Variable
    from nodelens.channels.trace import Trace


def unreached(model: nn.Module, trace: Trace) -> tuple[str, ...]:
    """Return the names of the parameters that no traced operator has read."""
    names = dict(model.named_parameters())
    return tuple(name for name in trace.parameters if name in names and name not in trace.used)


def freeze_unreached(model: nn.Module, trace: Trace, reason: str) -> None:
    """Freeze the nodes that unreached parameters may read, write or follow.

    These are the nodes beside them (in the closest module of which some other parameter was
    reached) whose number divides the size of one of their axes.
    """
    for name in unreached(model, trace):
        sizes = [axis.size for axis in trace.parameters[name].axes]
        for variable in _beside(trace, name):
            if any(size % variable.size == 0 for size in sizes):
                variable.frozen = variable.frozen or f"{name} {reason}"


def _beside(trace: Trace, name: str) -> Iterator[Variable]:
    for other in _neighbours(trace, name):
        for axis in trace.parameters[other].axes:
            for leaf in trace.solver.leaves(axis):
                if leaf.variable.size > 1:
                    yield leaf.variable


def _neighbours(trace: Trace, name: str) -> list[str]:
    """Return the reached parameters of the closest module above `name` that has any."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        prefix = f"{path}." if path else ""
        found = [other for other in trace.parameters if other.startswith(prefix)]
        if reached := [other for other in found if other in trace.used]:
            return reached
    return []
