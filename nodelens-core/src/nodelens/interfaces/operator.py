"""One row per ATen operator: everything that inference, masks and removal know of an operator.

The rows stand beside their rules, in the module of their family. Every table is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.expressions import Axes
    from nodelens.channels.rules.operation import Operation

AxisRule = Callable[["Operation"], Sequence["Axes"]]
"""Takes an operator call, relates the axes of its inputs, and returns those of its outputs."""

Macs = Callable[["Operation"], Sequence["Axes"]]
"""Returns terms that add up to the multiply-accumulates of a call: each a product of axes."""

AverageRule = Callable[..., Any]
"""Takes a bool tensor, True where an input is present, then the operator's own arguments."""

Along = Callable[["Tensor", Sequence[int]], "Tensor"]
"""Returns the parameter's index of the entries of a weight along some of its axes."""


@frozen
class Operand:
    """A factor of a product: the data to a weight, and along which axes the two are summed.

    Attributes:
        argument: the position of the data among the operator's arguments.
        axis: the axis of the data that is summed over.
        weight: the position of the weight.
        weight_axis: the axis of the weight that is summed over; with a weight of three axes, the
            first may be a batch.
        indices: finds the weight's index of every entry of `axis`, given `Along` and the
            arguments; for products that sum over no single axis of the weight.
    """

    argument: int
    axis: int
    weight: int
    weight_axis: int = -1
    indices: Callable[[Along, Sequence[Any]], Tensor | None] | None = None


@frozen
class Operator:
    """What is known of one operator.

    Attributes:
        name: the name that torch registers, bare for ATen, else ``my_library::my_op``. A name that
            ends in an underscore speaks of the in-place variant alone; any other of both.
        rule: relates axes, see `AxisRule`.
        entries: what the result holds of the first argument's entries: the ``same`` ones, some
            that were ``picked``, each node's from its own, or entries that were ``moved``.
        operands: every factor that a weight may read; such a product contracts.
        macs: counts multiply-accumulates, see `Macs`; left out where nothing is multiplied.
        average: computes an average or a norm over what is present, see `AverageRule`.
        draw: stands in for a random draw: takes the operator's arguments, returns constants.
        fake: stands in for the operator on tensors without data, where torch's own refuses.
    """

    name: str
    rule: AxisRule
    entries: Literal["same", "picked", "moved"] | None = None
    operands: tuple[Operand, ...] = ()
    macs: Macs | None = None
    average: AverageRule | None = None
    draw: Callable[..., Any] | None = None
    fake: Callable[..., Any] | None = None


Operators = Mapping[str, Operator]


def rows(names: Iterable[str], rule: AxisRule, **facts: Any) -> tuple[Operator, ...]:
    """Return one row per name; `facts` are further fields of `Operator`."""
    return tuple(Operator(name, rule, **facts) for name in names)


def factors(
    left: int, right: int, left_axis: int = -1, right_axis: int = -2
) -> tuple[Operand, Operand]:
    """Return both factors of a product of matrices or vectors: either may be the weight."""
    return (
        Operand(left, left_axis, right, right_axis),
        Operand(right, right_axis, left, left_axis),
    )


def registered_name(function: Any) -> str:
    """Return the name that torch registers an operator under, bare for operators of ATen."""
    return str(function._schema.name).removeprefix("aten::")


def row_of(operators: Operators, function: Any) -> Operator | None:
    """Return the row of an operator; the in-place variant has that of the plain one or its own."""
    name = registered_name(function)
    return operators.get(name) or operators.get(name.rstrip("_"))
