"""Rows of operators from outside the core, whose rules are named where they fail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.channels.expressions import Concatenation, Product, Variable
from nodelens.errors import ENDINGS, NodelensError, PluginError
from nodelens.interfaces.operator import Operator

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes
    from nodelens.channels.rules.operation import Operation


def given_rows(rows: Iterable[object]) -> tuple[Operator, ...]:
    """Return rows whose rules raise `PluginError` with the operator's name where they fail.

    Raises `PluginError` for anything that is no row.
    """
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise PluginError(f"operators: expected rows, got {type(rows).__name__}")
    return tuple(_named(row) for row in rows)


def _named(row: object) -> Operator:
    if not isinstance(row, Operator):
        raise PluginError(
            f"operators: expected rows (nodelens.interfaces.operator.Operator), got {row!r}"
        )
    plain, whose = row.rule, f"the rule of operator {row.name}"

    def rule(op: Operation) -> Sequence[Axes]:
        try:
            found = plain(op)
        except (NodelensError, *ENDINGS):
            raise
        except BaseException as error:
            raise PluginError(f"{whose} failed: {type(error).__name__}: {error}") from error
        if not isinstance(found, list | tuple) or not all(map(_is_axes, found)):
            raise PluginError(
                f"{whose} must return the axes of every tensor, a list of tuples of axes; it "
                f"returned {found!r}"
            )
        return found

    return evolve(row, rule=rule)


def _is_axes(axes: object) -> bool:
    kinds = Variable | Product | Concatenation
    return isinstance(axes, tuple) and all(isinstance(axis, kinds) for axis in axes)
