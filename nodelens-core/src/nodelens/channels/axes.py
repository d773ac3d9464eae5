"""The unification of axis expressions, by which axes of tensors are found to be one.

Variables are merged by union–find; a variable that meets a product or a concatenation is bound to
it, everywhere at once. What cannot be expressed is frozen with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attrs import define, field

from nodelens.channels.expressions import (
    Concatenation,
    Expression,
    Leaf,
    Product,
    Variable,
    concatenation,
    leaves_of,
    parts_of,
    product,
)
from nodelens.channels.groups import Extent


@define
class Solver:
    """Makes variables and unifies expressions."""

    variables: list[Variable] = field(factory=list)
    phase: str = ""
    """Words at the end of every further reason, such as `` (in training)``."""

    def fresh(self, size: int, frozen: str | None = None) -> Variable:
        """Return a new variable, frozen from the start when a reason is given."""
        reason = frozen + self.phase if frozen else None
        variable = Variable(size, len(self.variables), frozen=reason)
        self.variables.append(variable)
        return variable

    def resolve(self, expression: Expression) -> Expression:
        """Return the expression with every bound variable resolved, in normal form.

        Normal form: no product directly in a product, no concatenation directly in a concatenation
        or at the front of a product, no unit factors.
        """
        if isinstance(expression, Variable):
            return self._root(expression)
        if isinstance(expression, Concatenation):
            return concatenation([self.resolve(part) for part in expression.parts])
        return product([self.resolve(factor) for factor in expression.factors])

    def _root(self, variable: Variable) -> Expression:
        """Return the end of a chain of bound variables, and bind the whole chain to that end."""
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
        """Freeze every variable of the expression; the first reason is kept."""
        for leaf in self.leaves(expression):
            leaf.variable.frozen = leaf.variable.frozen or reason + self.phase

    def normalise(self, expression: Expression) -> None:
        """Mark every variable as normalised: the number of its nodes enters the computation."""
        for leaf in self.leaves(expression):
            leaf.variable.normalised = True

    def swapped(self, left: Expression, right: Expression) -> bool:
        """Whether two axes are the same segments in another order (rotary embedding's halves)."""
        a, b = parts_of(self.resolve(left)), parts_of(self.resolve(right))
        ours, theirs = [id(part) for part in a], [id(part) for part in b]
        return ours != theirs and sorted(ours) == sorted(theirs)

    def leaves(self, expression: Expression) -> Iterator[Leaf]:
        """Yield the free variables of an expression with the indices that each occupies."""
        yield from leaves_of(self.resolve(expression), Extent(width=1))

    def unify(self, left: Expression, right: Expression) -> None:
        """Unify two axes of equal size, freezing both where unification cannot be expressed."""
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
            leaf.variable.split_at = leaf.variable.split_at or variable.split_at

    def _earlier(self, one: str | None, other: str | None) -> str | None:
        """Return one of two reasons, where both are given the one of the earlier phase."""
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
            remainder, others = self._align_first(parts_of(a), parts_of(b))
            if not remainder:
                return
            a, b = self.resolve(concatenation(remainder)), self.resolve(concatenation(others))
        self.unify(a, b)

    def _align_first(
        self, parts: Sequence[Expression], others: Sequence[Expression]
    ) -> tuple[Sequence[Expression], Sequence[Expression]]:
        """Unify the first parts of two axes, splitting the longer, and return the other parts.

        An axis that meets itself shifted would be split at every index, and all parts unified:
        it is frozen as a whole.
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
        front, back = self._split_inside(first, second.size) or self.split(first, second.size)
        self.unify(front, second)
        return [back, *parts[1:]], others[1:]

    def _share(self, part: Expression, others: Sequence[Expression]) -> bool:
        ours = {id(leaf.variable) for leaf in self.leaves(part)}
        return any(id(leaf.variable) in ours for other in others for leaf in self.leaves(other))

    def split(self, expression: Expression, at: int) -> tuple[Expression, Expression]:
        """Split an axis in two after `at` indices, refining it; freeze it where impossible."""
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
        reason = f"split after {at} of {expression.size} indices, inside a block"
        self.freeze(expression, reason)
        return self.fresh(at, reason), self.fresh(expression.size - at, reason)

    def _split_inside(
        self, expression: Expression, at: int
    ) -> tuple[Expression, Expression] | None:
        """Split a product inside one of its repetitions; None where no repetition holds the place.

        Every repetition is split at the same index: `(2, a + b)` after `a` is `a` and
        `b + (1, a + b)`.
        """
        if not isinstance(expression, Product) or not isinstance(expression.factors[0], Variable):
            return None
        head, inner = expression.factors[0], product(expression.factors[1:])
        before, inside = divmod(at, inner.size)
        if not inside:
            return None
        left, right = self.split(inner, inside)
        counts = [before, 1, head.size - before - 1]
        front, middle, back = (self.fresh(count) if count else None for count in counts)
        self._bind(head, concatenation([part for part in (front, middle, back) if part]))
        lead = [product([front, inner])] if front else []
        rest = [product([back, inner])] if back else []
        return concatenation([*lead, left]), concatenation([right, *rest])

    def _cut_parts(self, parts: Sequence[Expression], at: int) -> tuple[Expression, Expression]:
        front: list[Expression] = []
        rest = list(parts)
        while rest and at >= rest[0].size:
            at -= rest[0].size
            front.append(rest.pop(0))
        if at:
            left, right = self.split(rest[0], at)
            front.append(left)
            rest[0] = right
        return concatenation(front), concatenation(rest)

    def _clash(self, expressions: Sequence[Expression]) -> None:
        for expression in expressions:
            self.freeze(expression, "axes that do not divide into common factors meet")
