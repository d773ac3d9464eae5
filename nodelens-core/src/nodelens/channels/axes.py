"""Axis expressions and their unification: what is known about the axes of every tensor.

An axis is a *variable*, an ordered *product* of expressions (heads × head_dim, as ``view`` makes),
or a *concatenation* of expressions (as ``cat`` and ``split`` make). Variables are merged by
union–find; a variable that meets a product or a concatenation is bound to it, everywhere at once.
What cannot be expressed is frozen with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

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
    """What this is in attention, ``heads``, ``head_dim``, ``value_dim``, and in which module."""
    cut: str = ""
    """Where the model cuts it from other indices of an axis, in words."""


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


@frozen
class Leaf:
    """A variable inside an expression, and which indices of the axis belong to its nodes."""

    variable: Variable
    extent: Extent


@define
class Solver:
    """Makes variables and unifies expressions."""

    variables: list[Variable] = field(factory=list)
    phase: str = ""
    """Words that end every reason given from now on, such as `` (in training)``."""

    def fresh(self, size: int, frozen: str | None = None) -> Variable:
        """Return a new variable, frozen from the start when a reason is given."""
        reason = frozen + self.phase if frozen else None
        variable = Variable(size, len(self.variables), frozen=reason)
        self.variables.append(variable)
        return variable

    def resolve(self, expression: Expression) -> Expression:
        """Return the expression with every bound variable replaced, in normal form.

        Normal form: no product directly in a product, no concatenation directly in a concatenation
        or at the front of a product, no unit factors.
        """
        if isinstance(expression, Variable):
            return self._root(expression)
        if isinstance(expression, Concatenation):
            return concatenation([self.resolve(part) for part in expression.parts])
        return product([self.resolve(factor) for factor in expression.factors])

    def _root(self, variable: Variable) -> Expression:
        """Follow what a variable is bound to, and bind all of the chain to the end of it."""
        chain: list[Variable] = []
        while isinstance(variable.bound, Variable):
            chain.append(variable)
            variable = variable.bound
        if variable.bound is not None:
            variable.bound = self.resolve(variable.bound)
        end = variable if variable.bound is None else variable.bound
        for passed in chain:
            passed.bound = end
        return end

    def freeze(self, expression: Expression, reason: str) -> None:
        """Freeze every variable of the expression; the first reason stays."""
        for leaf in self.leaves(expression):
            leaf.variable.frozen = leaf.variable.frozen or reason + self.phase

    def normalise(self, expression: Expression) -> None:
        """Note of every variable that the number of its nodes enters the computation."""
        for leaf in self.leaves(expression):
            leaf.variable.normalised = True

    def swapped(self, left: Expression, right: Expression) -> bool:
        """Whether two axes are the same segments in another order (rotary embedding's halves)."""
        a, b = _parts(self.resolve(left)), _parts(self.resolve(right))
        ours, theirs = [id(part) for part in a], [id(part) for part in b]
        return ours != theirs and sorted(ours) == sorted(theirs)

    def leaves(self, expression: Expression) -> Iterator[Leaf]:
        """Yield the free variables of an expression with the indices that each occupies."""
        yield from _leaves(self.resolve(expression), Extent(width=1))

    def unify(self, left: Expression, right: Expression) -> None:
        """Make two axes of the same size one, freezing both where that cannot be expressed."""
        a, b = self.resolve(left), self.resolve(right)
        if a is b or a.size == 1 or b.size == 1:
            return
        if a.size != b.size:
            self._clash([a, b])
            return
        if isinstance(a, Variable) or isinstance(b, Variable):
            self._bind(a, b)
        elif isinstance(a, Concatenation) or isinstance(b, Concatenation):
            self._align_parts(a, b)
        else:
            self._align_factors(a.factors, b.factors)

    def _bind(self, a: Expression, b: Expression) -> None:
        variable, other = (a, b) if isinstance(a, Variable) else (b, a)
        assert isinstance(variable, Variable)
        if any(leaf.variable is variable for leaf in self.leaves(other)):
            self.freeze(other, "an axis that contains itself")
            return
        variable.bound = other
        for leaf in self.leaves(other):
            leaf.variable.frozen = self._earlier(leaf.variable.frozen, variable.frozen)
            leaf.variable.normalised |= variable.normalised
            leaf.variable.attention = leaf.variable.attention or variable.attention
            leaf.variable.cut = leaf.variable.cut or variable.cut

    def _earlier(self, one: str | None, other: str | None) -> str | None:
        """Return the reason of the two that is not of the present phase, if there are two."""
        return other if one and other and self.phase and one.endswith(self.phase) else one or other

    def _align_factors(self, a: Sequence[Expression], b: Sequence[Expression]) -> None:
        first, second = a[0], b[0]
        if first.size < second.size:
            first, second, a, b = second, first, b, a
        if first.size == second.size:
            self.unify(first, second)
            self._rest(a[1:], b[1:])
        elif first.size % second.size == 0 and isinstance(first, Variable):
            inner = self.fresh(first.size // second.size)
            self._bind(first, product([second, inner]))
            self._rest([inner, *a[1:]], b[1:])
        else:
            self._clash([*a, *b])

    def _rest(self, a: Sequence[Expression], b: Sequence[Expression]) -> None:
        if a or b:
            self.unify(product(list(a)), product(list(b)))

    def _align_parts(self, a: Expression, b: Expression) -> None:
        while isinstance(a, Concatenation) or isinstance(b, Concatenation):
            remainder, others = self._align_first(_parts(a), _parts(b))
            if not remainder:
                return
            a, b = self.resolve(concatenation(remainder)), self.resolve(concatenation(others))
        self.unify(a, b)

    def _align_first(
        self, parts: Sequence[Expression], others: Sequence[Expression]
    ) -> tuple[Sequence[Expression], Sequence[Expression]]:
        """Make the first parts of two axes one, cutting the longer, and return what is left.

        An axis that meets itself shifted would be cut at every index, all of them one: it is frozen
        as a whole.
        """
        first, second = parts[0], others[0]
        if first.size < second.size:
            first, second, parts, others = second, first, others, parts
        if first.size == second.size:
            self.unify(first, second)
            return parts[1:], others[1:]
        if self._share(first, others):
            for part in (*parts, *others):
                self.freeze(part, "an axis that meets itself shifted")
            return [], []
        front, back = self.cut(first, second.size)
        self.unify(front, second)
        return [back, *parts[1:]], others[1:]

    def _share(self, part: Expression, others: Sequence[Expression]) -> bool:
        ours = {id(leaf.variable) for leaf in self.leaves(part)}
        return any(id(leaf.variable) in ours for other in others for leaf in self.leaves(other))

    def cut(self, expression: Expression, at: int) -> tuple[Expression, Expression]:
        """Cut an axis in two after `at` indices, refining it; freeze it where impossible."""
        expression = self.resolve(expression)
        if isinstance(expression, Concatenation):
            return self._cut_parts(expression.parts, at)
        factors = [expression] if isinstance(expression, Variable) else list(expression.factors)
        inner = math.prod(factor.size for factor in factors[1:])
        head = factors[0]
        if isinstance(head, Variable) and at % inner == 0 and 0 < at // inner < head.size:
            front, back = self.fresh(at // inner), self.fresh(head.size - at // inner)
            self._bind(head, Concatenation((front, back)))
            return product([front, *factors[1:]]), product([back, *factors[1:]])
        reason = f"cut after {at} of {expression.size} indices, inside a block"
        self.freeze(expression, reason)
        return self.fresh(at, reason), self.fresh(expression.size - at, reason)

    def _cut_parts(self, parts: Sequence[Expression], at: int) -> tuple[Expression, Expression]:
        front: list[Expression] = []
        rest = list(parts)
        while rest and at >= rest[0].size:
            at -= rest[0].size
            front.append(rest.pop(0))
        if at:
            left, right = self.cut(rest[0], at)
            front.append(left)
            rest[0] = right
        return concatenation(front), concatenation(rest)

    def _clash(self, expressions: Sequence[Expression]) -> None:
        for expression in expressions:
            self.freeze(expression, "axes that do not divide into common factors meet")


def _parts(expression: Expression) -> list[Expression]:
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
        flat.extend(_parts(part))
    return flat[0] if len(flat) == 1 else Concatenation(tuple(flat))


def _leaves(expression: Expression, place: Extent) -> Iterator[Leaf]:
    """Yield leaves; `place` says where the expression sits: offset, inner size, repetitions."""
    if isinstance(expression, Variable):
        yield Leaf(expression, _placed(place, expression.size))
    elif isinstance(expression, Concatenation):
        offset = place.offset
        period = place.period or expression.size * place.inner
        for part in expression.parts:
            inside = Extent(part.size, offset, place.inner, place.outer, period)
            yield from _leaves(part, inside)
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
            yield from _leaves(factor, inside)
        else:
            yield from _irregular(factor, place)


def _irregular(factor: Expression, place: Extent) -> Iterator[Leaf]:
    """Two different repetitions around one factor have no single period: freeze what is inside."""
    for leaf in _leaves(factor, place):
        reason = "repeated at two different distances"
        leaf.variable.frozen = leaf.variable.frozen or reason
        yield leaf
