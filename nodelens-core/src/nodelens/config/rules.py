"""Which YAML values a type accepts: one small rule per kind of type, strict and without guessing.

A rule says in words what it expects, fits a value (collecting problems instead of raising) and
gives its JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from nodelens.config.constraints import NONE, Constraints
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.yaml12 import plain_scalar

INVALID = object()
"""What a rule gives back after it has reported a problem."""


class Rule(Protocol):
    """What one type expects of a YAML value."""

    def words(self, many: bool = False) -> str:
        """Return what is expected, for ``expected …`` or, with `many`, for ``a list of …``."""

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the value as the type wants it, or `INVALID` after adding to `problems`."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what is accepted."""


def given(value: Any) -> str:
    """Return what was given, as a user recognises it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:60] + '…'!r}"
    if isinstance(value, list):
        return f"a list of {counted(len(value))}" if value else "an empty list"
    return "a mapping" if isinstance(value, dict) else str(value)


def counted(items: int) -> str:
    """Return ``1 item`` or ``3 items``."""
    return f"{items} item" + ("" if items == 1 else "s")


def mismatch(rule: Rule, value: Any, path: KeyPath, hint: str = "") -> Problem:
    """Return the problem ``expected …, got …`` with a hint at the end."""
    return Problem(path, f"expected {rule.words()}, got {given(value)}", hint)


@frozen
class NumberRule:
    """Whole numbers, or with `real` any numbers; ``true`` and ``'5'`` are neither."""

    real: bool
    limits: Constraints = NONE

    def words(self, many: bool = False) -> str:
        """Return ``a whole number of at least 2``."""
        noun = "number" if self.real else "whole number"
        return (f"{noun}s" if many else f"a {noun}") + self.limits.number_words()

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return an int or a float; a whole number is a fine float, never the other way round."""
        right = isinstance(value, int | float if self.real else int) and not isinstance(value, bool)
        if right and self.limits.allow(value):
            return float(value) if self.real else value
        problems.append(mismatch(self, value, path, "" if right else self._hint(value)))
        return INVALID

    def _hint(self, value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            return f"write {int(value)}"
        number = isinstance(value, str) and isinstance(plain_scalar(value), int | float)
        return "take the quotes away" if number else ""

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "integer" or "number"}`` with the bounds."""
        bounds = {
            "minimum": self.limits.at_least,
            "exclusiveMinimum": self.limits.above,
            "maximum": self.limits.at_most,
            "exclusiveMaximum": self.limits.below,
        }
        kept = {key: bound for key, bound in bounds.items() if bound is not None}
        return {"type": "number" if self.real else "integer", **kept}


@frozen
class TruthRule:
    """``true`` and ``false``, and nothing that merely looks like them."""

    def words(self, many: bool = False) -> str:
        """Return ``true or false``."""
        return "true or false values" if many else "true or false"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the bool."""
        if isinstance(value, bool):
            return value
        problems.append(mismatch(self, value, path))
        return INVALID

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "boolean"}``."""
        return {"type": "boolean"}


@frozen
class TextRule:
    """Text; `expected` replaces the pattern in sentences, `as_path` gives a `pathlib.Path`."""

    limits: Constraints = NONE
    expected: str = ""
    as_path: bool = False

    def words(self, many: bool = False) -> str:
        """Return ``text``, or what the text has to be."""
        if self.expected:
            return self.expected
        noun = "path" if self.as_path else "text"
        singular = "a path" if self.as_path else "text"
        pattern = f" that matches {self.limits.pattern}" if self.limits.pattern else ""
        filled = " that is not empty" if self.limits.shortest == 1 else ""
        return (f"{noun}s" if many else singular) + pattern + filled

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the text or the path."""
        if isinstance(value, str) and self._allowed(value):
            return Path(value) if self.as_path else value
        scalar = isinstance(value, bool | int | float)
        problems.append(mismatch(self, value, path, "put it in quotes" if scalar else ""))
        return INVALID

    def _allowed(self, text: str) -> bool:
        pattern = self.limits.pattern
        matches = pattern is None or re.fullmatch(pattern, text) is not None
        return matches and self.limits.allow_length(len(text))

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "string"}`` with pattern and lengths."""
        pattern = self.limits.pattern and f"^(?:{self.limits.pattern})$"
        more = {
            "pattern": pattern,
            "minLength": self.limits.shortest,
            "maxLength": self.limits.longest,
        }
        return {"type": "string", **{key: item for key, item in more.items() if item is not None}}


@frozen
class ChoiceRule:
    """One of a few values."""

    choices: tuple[Any, ...]  # Any: literals

    def words(self, many: bool = False) -> str:
        """Return ``one of 'a', 'b'``."""
        listed = ", ".join(repr(choice) for choice in self.choices)
        return f"values out of {listed}" if many else f"one of {listed}"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the choice; ``true`` is not 1."""
        for choice in self.choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        problems.append(mismatch(self, value, path, self._hint(value)))
        return INVALID

    def _hint(self, value: Any) -> str:
        """Return ``did you mean 'a'?`` for a text that is close to one of the choices."""
        if not isinstance(value, str):
            return ""
        known = {each.lower(): each for each in self.choices if isinstance(each, str)}
        close = get_close_matches(value.lower(), known, n=1)
        return f"did you mean {known[close[0]]!r}?" if close else ""

    def schema(self) -> dict[str, Any]:
        """Return ``{"enum": [...]}``."""
        return {"enum": list(self.choices)}


@frozen
class NothingRule:
    """``null`` and the empty value."""

    def words(self, many: bool = False) -> str:
        """Return ``null``."""
        return "nulls" if many else "null"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return None."""
        if value is None:
            return None
        problems.append(mismatch(self, value, path))
        return INVALID

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "null"}``."""
        return {"type": "null"}


@frozen
class AnythingRule:
    """Any YAML value, as it is."""

    def words(self, many: bool = False) -> str:
        """Return ``anything``."""
        return "anything"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the value."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return ``{}``."""
        return {}


@frozen
class EitherRule:
    """The first of several rules that fits."""

    rules: Sequence[Rule]

    def words(self, many: bool = False) -> str:
        """Return ``a whole number, or null``."""
        return ", or ".join(rule.words(many) for rule in self.rules)

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return what the first fitting rule makes of the value.

        When none fits, a rule that accepts the value's outside tells what is wrong inside.
        """
        inside: list[list[Problem]] = []
        hints: list[str] = []
        for rule in self.rules:
            found: list[Problem] = []
            fitted = rule.fit(value, path, found)
            if not found:
                return fitted
            if all(len(problem.path) > len(path) for problem in found):
                inside.append(found)
            if not isinstance(rule, NothingRule):
                hints.append(found[0].hint)
        hint = hints[0] if len(hints) == 1 else ""
        problems.extend(inside[0] if inside else [mismatch(self, value, path, hint)])
        return INVALID

    def schema(self) -> dict[str, Any]:
        """Return ``{"anyOf": [...]}``."""
        return {"anyOf": [rule.schema() for rule in self.rules]}
