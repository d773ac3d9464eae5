"""A dispatch mode for compared forwards: operators are counted, precise, and repeatable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nodelens.interfaces.operator import Operator, Operators, registered_name, row_of
from nodelens.removal.double_precision import PRECISE

if TYPE_CHECKING:
    from nodelens.removal.absent_nodes import Average

_DROPOUT_RATES = frozenset(["dropout", "dropout_p"])


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators of a forward, in float64 and with absent nodes left out of averages.

    `precise` leaves float64 tensors in float64 where the model would cast them down. `averages`
    are all averaging operators in the order in which the forward calls them; `followed` turns False
    where it calls others. Random draws are constants. `calls` is one number for all operators so
    far and the sizes that they were given: forwards that were given the same agree in it.
    """

    def __init__(
        self, precise: bool, operators: Operators, averages: Sequence[Average] = ()
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.precise = precise
        self.table = operators
        self.averages = list(averages)
        self.followed = True
        self.operators = 0
        self.calls = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, name, row = dict(kwargs or {}), registered_name(func), row_of(self.table, func)
        self.operators += 1
        self.calls = hash((self.calls, name, _sizes(args)))
        if self.precise and name == "_to_copy" and _cast_down(args, kwargs):
            kwargs["dtype"] = PRECISE[kwargs["dtype"]]
        if row is not None and row.draw is not None:
            return row.draw(*args, **kwargs)
        args = _without_dropout(func, args)
        average = self._average(row, args)
        if average is not None and average.present:
            part = average.compute(average.weights(args[0]), *args, **kwargs)
            return _as_many(part, len(func._schema.returns))
        return func(*args, **kwargs)

    def _average(self, row: Operator | None, args: tuple[Any, ...]) -> Average | None:
        """Return the next average of the trace for an averaging operator, None for any other."""
        if row is None or row.average is None or not self.averages:
            return None
        average = self.averages.pop(0)
        if (average.compute, average.shape) == (row.average, tuple(args[0].shape)):
            return average
        self.averages, self.followed = [], False
        return None


def _without_dropout(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of an operator with the rates of a dropout inside it at zero."""
    names = [argument.name for argument in func._schema.arguments[: len(args)]]
    if _DROPOUT_RATES.isdisjoint(names):
        return args
    return tuple(
        0.0 if name in _DROPOUT_RATES else value for name, value in zip(names, args, strict=True)
    )


def _as_many(part: Any, count: int) -> Any:
    """Return as many tensors as the operator does: accelerators return a workspace as well."""
    if not isinstance(part, tuple) or len(part) == count:
        return part
    return *part, *(part[0].new_empty(0) for _ in range(count - len(part)))


def _cast_down(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return args[0].dtype in PRECISE.values() and kwargs.get("dtype") in PRECISE


def _sizes(value: Any) -> object:
    """Return the sizes in an argument: a shape, a number, a list of these."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, list | tuple):
        return tuple(_sizes(each) for each in value)
    return value if isinstance(value, bool | int | float | str) else type(value)
