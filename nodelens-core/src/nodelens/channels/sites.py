"""Sites of the nodes of a variable: ports of modules, or products with a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nodelens.channels.groups import Extent, Rows, Site, SitePoint
from nodelens.channels.stacks import leaves_of, stack_fields

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes, Leaf, Variable
    from nodelens.channels.trace import Contraction, Port, Trace


def read_sites(
    trace: Trace,
    contraction: Contraction,
    variable: Variable,
    ports: list[Port],
    stack: Variable | None,
) -> list[Site]:
    """Return the sites where the operand of a contraction enters the module.

    Routed tokens are read before their selection. An operand that no input of the module shows is
    read at the product with the parameter itself.
    """
    for value in trace.sources(contraction.value):
        reading = [port for port in ports if port.value == value]
        if sites := list(port_sites(trace, reading, "activation", variable, stack)):
            return sites
    return list(_operand_sites(trace, contraction, variable, stack))


def port_sites(
    trace: Trace,
    ports: Iterable[Port],
    point: SitePoint,
    variable: Variable,
    stack: Variable | None,
) -> Iterator[Site]:
    """Yield the sites of a variable at ports of modules."""
    for port in ports:
        for position, leaf in _places(trace, port.axes, variable):
            yield Site(
                module=port.module,
                end="input" if point == "activation" else "output",
                point=point,
                axis=position,
                extent=leaf.extent,
                argument=port.argument,
                call=port.call,
                value=port.value,
                overwritten=trace.overwritten(port),
                rows=rows_of(trace, port.axes),
                **stack_fields(trace, port.axes, position, leaf, stack),
            )


def _operand_sites(
    trace: Trace, contraction: Contraction, variable: Variable, stack: Variable | None
) -> Iterator[Site]:
    """Yield the sites of a variable in operands of parameters whose entries are known."""
    port, found = contraction.operand, _parameters(trace, contraction, variable)
    product = contraction.operator is not None and contraction.operator.operands
    if not product or len(found) != 1:
        return
    name, along = found[0]
    for position, leaf in _places(trace, port.axes, variable):
        yield Site(
            module=port.module,
            end="operand",
            point="activation",
            axis=position,
            extent=leaf.extent,
            argument=name,
            value=port.value,
            overwritten=trace.overwritten(port),
            rows=rows_of(trace, port.axes),
            along=along,
            **stack_fields(trace, port.axes, position, leaf, stack),
        )


def _parameters(
    trace: Trace, contraction: Contraction, variable: Variable
) -> list[tuple[str, int]]:
    """Return the parameters, and their axes, that read a variable, if their entries are known."""
    found = {
        (name, axis)
        for name, axis in contraction.readers
        for _ in leaves_of(trace, trace.parameters[name].axes[axis], variable)
    }
    return sorted(each for each in found if each[0] in contraction.moved)


def _places(trace: Trace, axes: Axes, variable: Variable) -> Iterator[tuple[int, Leaf]]:
    for position, axis in enumerate(axes):
        for leaf in leaves_of(trace, axis, variable):
            yield position, leaf


def rows_of(trace: Trace, axes: Axes) -> Rows | None:
    """Return where a tensor of these axes holds the samples, None if nowhere or in the middle."""
    samples = {
        leaf.variable.number
        for axis in trace.rows
        for leaf in trace.solver.leaves(axis)
        if leaf.variable.size > 1
    }
    for position, axis in enumerate(axes):
        found = [leaf for leaf in trace.solver.leaves(axis) if leaf.variable.number in samples]
        if found:
            return _rows(position, [leaf.extent for leaf in found], axis.size)
    return None


def _rows(position: int, places: list[Extent], size: int) -> Rows | None:
    """Return how samples and positions share an axis; positions may be made of several runs."""
    if sum(place.width * place.inner * place.outer for place in places) != size:
        return None
    if len(places) == 1 and places[0].outer == 1:
        return Rows(position)
    return Rows(position, last=True) if all(place.inner == 1 for place in places) else None
