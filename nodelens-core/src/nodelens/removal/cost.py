"""Cost of a model and of one node of each group: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.channels.expressions import Axes, Expression, Product, Variable
from nodelens.channels.rules.table import operator_table
from nodelens.channels.trace import Trace
from nodelens.removal.retrace import retrace, variable_of

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.axes import Solver
    from nodelens.channels.groups import ChannelGraph, ChannelGroup
    from nodelens.interfaces.operator import Operators


@frozen
class Cost:
    """The number of parameters, and of multiply-accumulates of one forward on the example inputs.

    Matrix products, convolutions and attention are counted, element-wise work is not. `macs` is
    None for a model that cannot be traced.
    """

    parameters: int
    macs: int | None


@frozen
class Costs:
    """The cost of a model, and by group name the saving when one node is removed."""

    model: Cost
    nodes: Mapping[str, Cost]


def costs(
    model: nn.Module,
    graph: ChannelGraph,
    *args: Any,
    **kwargs: Any,
) -> Costs:
    """Return the cost of `model` and of one node of each group, from one traced forward.

    Nothing is computed and the model is not changed. The saving of a node is the difference to the
    cost of the model with one node less, other groups whole. Savings of two groups do not add up
    where one weight joins them.
    """
    sizes = {name: tuple(each.shape) for name, each in model.named_parameters()}
    operators = operator_table(graph.operators)
    tally = _tally(model, args, kwargs, operators) if graph.traced else None
    return Costs(
        Cost(sum(map(math.prod, sizes.values())), tally.total() if tally else None),
        {
            group.name: Cost(_node_parameters(group, sizes), tally.saved(group) if tally else None)
            for group in graph
        },
    )


def _node_parameters(group: ChannelGroup, sizes: Mapping[str, tuple[int, ...]]) -> int:
    """Count the parameters that one node owns; overlaps of two slices are counted once."""
    owned: dict[str, dict[int, set[int]]] = {}
    for part in group.slices:
        if part.parameter in sizes:
            axes = owned.setdefault(part.parameter, {})
            axes.setdefault(part.axis, set()).update(part.extent.indices()[0])
    return sum(
        math.prod(sizes[name])
        - math.prod(size - len(axes.get(axis, ())) for axis, size in enumerate(sizes[name]))
        for name, axes in owned.items()
    )


@frozen(eq=False)
class _Tally:
    """The multiply-accumulates of every operator, each a product of axes."""

    trace: Trace
    terms: Sequence[Axes]

    def total(self) -> int:
        """Return the multiply-accumulates of the whole forward."""
        return sum(self._count(term, None) for term in self.terms)

    def saved(self, group: ChannelGroup) -> int:
        """Return the multiply-accumulates that one node less saves."""
        variable = variable_of(self.trace, group)
        return self.total() - sum(self._count(term, variable) for term in self.terms)

    def _count(self, term: Axes, less: Variable | None) -> int:
        return math.prod(_size(self.trace.solver, axis, less) for axis in term)


def _tally(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], operators: Operators
) -> _Tally:
    macs = {name: row.macs for name, row in operators.items() if row.macs}
    trace, seen = retrace(model, args, kwargs, operators, macs)
    return _Tally(trace, [term for terms_of, op in seen for term in terms_of(op)])


def _size(solver: Solver, axis: Expression, less: Variable | None) -> int:
    """Return the size of an axis, with one index of `less` removed."""
    axis = solver.resolve(axis)
    if isinstance(axis, Variable):
        return axis.size - (axis is less)
    if isinstance(axis, Product):
        return math.prod(_size(solver, factor, less) for factor in axis.factors)
    return sum(_size(solver, part, less) for part in axis.parts)
