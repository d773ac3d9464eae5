"""Axis expressions: variables, products and concatenations, in normal form.

An axis is a *variable*, an ordered *product* of expressions (heads × head_dim, as ``view`` makes),
or a *concatenation* of expressions (as ``cat`` and ``split`` make).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import define, frozen

from nodelens.channels.groups import Extent


@define(eq=False)
class Variable:
    """An axis of `size` indices whose structure is not known (yet)."""

    size: int
    number: int
    bound: Expression | None = None
    frozen: str | None = None
    normalised: bool = False
    attention: tuple[str, str] | None = None
    """The part in attention, ``heads``, ``head_dim``, ``value_dim``, and the module."""
    split_at: str = ""
    """Where the model splits the variable from other indices of an axis, in words."""


@frozen(eq=False)
class Product:
    """An axis whose index is a tuple of indices, the last running fastest."""

    factors: tuple[Expression, ...]

    @property
    def size(self) -> int:
        """The number of indices."""
        return math.prod(factor.size for factor in self.factors)


@frozen(eq=False)
class Concatenation:
    """An axis made of segments, one after the other."""

    parts: tuple[Expression, ...]

    @property
    def size(self) -> int:
        """The number of indices."""
        return sum(part.size for part in self.parts)


Expression = Variable | Product | Concatenation
Axes = tuple[Expression, ...]


@frozen
class Leaf:
    """A variable inside an expression, and which indices of the axis belong to its nodes."""

    variable: Variable
    extent: Extent


def parts_of(expression: Expression) -> list[Expression]:
    """Return the parts of a concatenation, or the one expression."""
    return list(expression.parts) if isinstance(expression, Concatenation) else [expression]


def product(factors: Sequence[Expression]) -> Expression:
    """Return the product in normal form; an empty product is a unit axis."""
    flat: list[Expression] = []
    for factor in factors:
        flat.extend(factor.factors if isinstance(factor, Product) else [factor])
    flat = [factor for factor in flat if factor.size != 1] or flat[:1]
    if not flat:
        return Variable(1, -1)
    if len(flat) == 1:
        return flat[0]
    if isinstance(flat[0], Concatenation):
        return concatenation([product([part, *flat[1:]]) for part in flat[0].parts])
    return Product(tuple(flat))


def concatenation(parts: Sequence[Expression]) -> Expression:
    """Return the concatenation in normal form."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(parts_of(part))
    return flat[0] if len(flat) == 1 else Concatenation(tuple(flat))


def leaves_of(expression: Expression, place: Extent) -> Iterator[Leaf]:
    """Yield leaves; `place` says where the expression sits: offset, inner size, repetitions."""
    if isinstance(expression, Variable):
        yield Leaf(expression, _placed(place, expression.size))
    elif isinstance(expression, Concatenation):
        offset = place.offset
        period = place.period or expression.size * place.inner
        for part in expression.parts:
            inside = Extent(part.size, offset, place.inner, place.outer, period)
            yield from leaves_of(part, inside)
            offset += part.size * place.inner
    else:
        yield from _factor_leaves(expression, place)


def _placed(place: Extent, width: int) -> Extent:
    period = place.period if place.outer > 1 and place.period != width * place.inner else 0
    return Extent(width, place.offset, place.inner, place.outer, period)


def _factor_leaves(expression: Product, place: Extent) -> Iterator[Leaf]:
    inner = place.inner * expression.size
    for position, factor in enumerate(expression.factors):
        inner //= factor.size
        outer = math.prod(f.size for f in expression.factors[:position])
        regular = place.outer == 1 or place.period in (0, expression.size * place.inner)
        if regular or outer == 1:
            repeats = place.outer * outer
            period = factor.size * inner if outer > 1 else place.period
            inside = Extent(factor.size, place.offset, inner, repeats, period)
            yield from leaves_of(factor, inside)
        else:
            yield from _irregular(factor, place)


def _irregular(factor: Expression, place: Extent) -> Iterator[Leaf]:
    """Yield the leaves inside two different repetitions, frozen: they have no single period."""
    for leaf in leaves_of(factor, place):
        reason = "repeated at two different distances"
        leaf.variable.frozen = leaf.variable.frozen or reason
        yield leaf
