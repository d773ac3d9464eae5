"""Rules for lists and mappings of one kind of value; see `nodelens.config.rules`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen

from nodelens.config.constraints import NONE, Constraints
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.rules import INVALID, Rule, counted, mismatch


@frozen
class ListRule:
    """Any number of equal things; `make` turns the list into the type's own container."""

    item: Rule
    make: Callable[[Iterable[Any]], Any] = tuple
    limits: Constraints = NONE

    def words(self, many: bool = False) -> str:
        """Return ``a list of whole numbers``."""
        return f"{'lists' if many else 'a list'} of {self.item.words(many=True)}{self._size()}"

    def _size(self) -> str:
        shortest, longest = self.limits.shortest, self.limits.longest
        if shortest is not None and longest is not None:
            return f" with {shortest} to {longest} items"
        if shortest is not None:
            return f" with at least {counted(shortest)}"
        return "" if longest is None else f" with at most {counted(longest)}"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the container; every bad item is a problem of its own."""
        if not isinstance(value, list) or not self.limits.allow_length(len(value)):
            problems.append(mismatch(self, value, path, self._hint(value)))
            return INVALID
        items = [self.item.fit(item, (*path, at), problems) for at, item in enumerate(value)]
        return INVALID if any(item is INVALID for item in items) else self.make(items)

    def _hint(self, value: Any) -> str:
        found: list[Problem] = []
        if value is None or isinstance(value, list | dict):
            return ""
        self.item.fit(value, (), found)
        return "" if found else f"write [{value}]"

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "array", "items": ...}`` with lengths."""
        sizes = {"minItems": self.limits.shortest, "maxItems": self.limits.longest}
        kept = {key: size for key, size in sizes.items() if size is not None}
        return {"type": "array", "items": self.item.schema(), **kept}


@frozen
class PositionsRule:
    """A list with a fixed number of items, each with its own rule."""

    items: Sequence[Rule]

    def words(self, many: bool = False) -> str:
        """Return ``a list of 2 items (a number, then text)``."""
        listed = ", then ".join(rule.words() for rule in self.items)
        return f"{'lists' if many else 'a list'} of {counted(len(self.items))} ({listed})"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the tuple."""
        if not isinstance(value, list) or len(value) != len(self.items):
            problems.append(mismatch(self, value, path))
            return INVALID
        pairs = enumerate(zip(self.items, value, strict=True))
        items = [rule.fit(item, (*path, at), problems) for at, (rule, item) in pairs]
        return INVALID if any(item is INVALID for item in items) else tuple(items)

    def schema(self) -> dict[str, Any]:
        """Return ``{"prefixItems": [...]}`` of exactly that length."""
        size = len(self.items)
        items = [rule.schema() for rule in self.items]
        return {"type": "array", "prefixItems": items, "minItems": size, "maxItems": size}


@frozen
class TableRule:
    """A mapping with free keys and equal things as values."""

    item: Rule

    def words(self, many: bool = False) -> str:
        """Return ``a mapping to numbers``."""
        return f"{'mappings' if many else 'a mapping'} to {self.item.words(many=True)}"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the dict."""
        if not isinstance(value, dict):
            problems.append(mismatch(self, value, path))
            return INVALID
        table = {key: self.item.fit(item, (*path, key), problems) for key, item in value.items()}
        return INVALID if any(item is INVALID for item in table.values()) else table

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "object", "additionalProperties": ...}``."""
        return {"type": "object", "additionalProperties": self.item.schema()}
