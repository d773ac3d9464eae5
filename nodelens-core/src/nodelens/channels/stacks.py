"""Stacks of weights, such as those of experts: the axes of tensors that run over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes, Expression, Leaf, Variable
    from nodelens.channels.groups import ParameterSlice
    from nodelens.channels.trace import Contraction, Trace


def leaves_of(trace: Trace, axis: Expression, variable: Variable) -> Iterator[Leaf]:
    """Yield the places of one variable in an axis."""
    return (leaf for leaf in trace.solver.leaves(axis) if leaf.variable is variable)


def stack_fields(
    trace: Trace, axes: Axes, position: int, node: Leaf, stack: Variable | None
) -> dict[str, int]:
    """Return the fields of a site about the stack of weights that reads its tensor, if one does."""
    place = None if stack is None else axis_of(trace, axes, stack, (position, node))
    return {} if stack is None or place is None else {"stacked": place, "stack": stack.size}


def axis_of(
    trace: Trace, axes: Axes, stack: Variable, beside: tuple[int, Leaf] | None = None
) -> int | None:
    """Return the axis that runs over a stack and over nothing else, None if there is none.

    `beside` is an axis and the nodes in it: these and the stack may fill that axis together.
    """
    for position, axis in enumerate(axes):
        if any(True for _ in leaves_of(trace, axis, stack)):
            if axis.size == stack.size:
                return position
            if beside and position == beside[0] and beside[1].extent.count == stack.size:
                return position
    return None


def stack_of(trace: Trace, contraction: Contraction, variable: Variable) -> Variable | None:
    """Return the axis of a stack of weights in a product: it is one of the operand's axes as well.

    None where the weights are no stack, or one in two ways.
    """
    names = {name for name, _ in contraction.readers}
    within = [
        leaf.variable
        for name in names
        for position, axis in enumerate(trace.parameters[name].axes)
        if (name, position) not in contraction.writers
        for leaf in trace.solver.leaves(axis)
        if leaf.variable is not variable and leaf.variable.size > 1
    ]
    operand = {
        leaf.variable.number
        for axis in contraction.operand.axes
        for leaf in trace.solver.leaves(axis)
    }
    found = {each.number: each for each in within if each.number in operand}
    return next(iter(found.values())) if len(found) == 1 else None


def written_by_stack(trace: Trace, slices: Iterable[ParameterSlice], stack: Variable) -> bool:
    """Whether every weight that writes the nodes has an axis that runs over a stack.

    Weights of a stack may all read the same nodes, which a weight outside the stack writes.
    """
    return all(
        any(
            True
            for axis in trace.parameters[part.parameter].axes
            for _ in leaves_of(trace, axis, stack)
        )
        for part in slices
        if part.role == "producer"
    )


def over_stack(
    trace: Trace, parts: Iterable[ParameterSlice], weights: Mapping[str, Axes], stack: Variable
) -> Iterator[ParameterSlice]:
    """Yield slices of weights with the axis that runs over a stack, if one does."""
    for part in parts:
        yield evolve(part, stacked=axis_of(trace, weights[part.parameter], stack))
