"""The interface of operators: one row holds everything that inference, masks and removal need.

The rows stand beside their rules, in the module of their family. Every table is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.expressions import Axes
    from nodelens.channels.rules.operation import Operation

AxisRule = Callable[["Operation"], Sequence["Axes"]]
"""Takes an operator call, unifies axes of the inputs, and returns the axes of each output."""

Macs = Callable[["Operation"], Sequence["Axes"]]
"""Takes an operator call, and returns products of axes that add up to multiply-accumulates."""

AverageRule = Callable[..., Any]
"""Takes a bool tensor, True where entries of the input are present, then the arguments."""

Along = Callable[["Tensor", Sequence[int]], "Tensor"]
"""Takes a weight and some of its axes, and returns the parameter's indices along these axes."""


@frozen
class Operand:
    """A factor of a product: the data that a weight reads, and the axes that are summed over.

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


_FUNCTION = validators.optional(validators.is_callable())


@frozen
class Operator:
    """The row of one operator: rule, operands, cost, and stand-ins.

    Attributes:
        name: the name that torch registers, bare for ATen (``relu``, not ``aten::relu``), else
            ``my_library::my_op``. A name that ends in an underscore stands for the in-place variant
            alone, any other for both.
        rule: unifies axes, see `AxisRule`.
        entries: the entries of the first argument that the result holds: the ``same`` ones, some
            that were ``picked``, each node's from its own, or entries that were ``moved``.
        operands: every factor that a weight may read; such a product contracts.
        macs: counts multiply-accumulates, see `Macs`; left out where nothing is multiplied.
        average: computes an average or a norm over the present entries, see `AverageRule`.
        draw: stands in for a random draw: takes the operator's arguments, returns constants.
        fake: stands in for the operator on tensors without data, where torch's own refuses.

    Example:
        ::

            def rule(op):
                x, weight = op.args
                (rows, nodes), (written, read) = op.axes(x), op.axes(weight)
                op.contracts(x, weight, read=(read,), written=(written,))
                op.unify(nodes, read)
                op.sums(x, weight, [read])
                return [(rows, written)]

            PROJECT = Operator("acme::project", rule, operands=factors(0, 1, right_axis=-1))
    """

    name: str = field(
        validator=[
            validators.instance_of(str),
            validators.matches_re(r"(?!aten::)(\w+::)?\w+"),
        ]
    )
    rule: AxisRule = field(validator=validators.is_callable())
    entries: Literal["same", "picked", "moved"] | None = field(
        default=None, validator=validators.in_((None, "same", "picked", "moved"))
    )
    operands: tuple[Operand, ...] = field(
        default=(),
        validator=validators.deep_iterable(
            validators.instance_of(Operand), validators.instance_of(tuple)
        ),
    )
    macs: Macs | None = field(default=None, validator=_FUNCTION)
    average: AverageRule | None = field(default=None, validator=_FUNCTION)
    draw: Callable[..., Any] | None = field(default=None, validator=_FUNCTION)
    fake: Callable[..., Any] | None = field(default=None, validator=_FUNCTION)


Operators = Mapping[str, Operator]


def rows(names: Iterable[str], rule: AxisRule, **facts: Any) -> tuple[Operator, ...]:
    """Return one row per name.

    Args:
        names: the names of operators with one rule.
        rule: the rule of all of them.
        **facts: further fields of `Operator`.

    Returns:
        The rows in the order of the names.
    """
    return tuple(Operator(name, rule, **facts) for name in names)


def factors(
    left: int, right: int, left_axis: int = -1, right_axis: int = -2
) -> tuple[Operand, Operand]:
    """Return both factors of a product of matrices or vectors: either may be the weight.

    Args:
        left: the position of the left factor among the operator's arguments.
        right: the position of the right factor.
        left_axis: the axis of the left factor that is summed over.
        right_axis: the axis of the right factor that is summed over.

    Returns:
        One operand per factor that may be the data, for `Operator.operands`.
    """
    return (
        Operand(left, left_axis, right, right_axis),
        Operand(right, right_axis, left, left_axis),
    )


def registered_name(function: Any) -> str:
    """Return the name under which torch registers an operator, bare for operators of ATen."""
    return str(function._schema.name).removeprefix("aten::")


def row_of(operators: Operators, function: Any) -> Operator | None:
    """Return the row of an operator; an in-place variant without a row has the plain one's."""
    name = registered_name(function)
    return operators.get(name) or operators.get(name.rstrip("_"))
