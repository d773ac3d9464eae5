"""From plain values to what a type wants, or to the problems that stand in the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cattrs import IterableValidationError

from nodelens.config.class_keys import entries
from nodelens.config.converter import (
    REFUSALS,
    KeysError,
    MismatchError,
    MissingKeyError,
    UnknownKeyError,
    converter,
)
from nodelens.config.correction_hints import hint
from nodelens.config.raw import KeyPath, Problem
from nodelens.errors import did_you_mean
from nodelens.renamed_arguments import earlier_names

INVALID = object()
"""What `fit` gives back after it has reported a problem."""


def fit(
    kind: Any, value: Any, path: KeyPath, problems: list[Problem], others: Iterable[str] = ()
) -> Any:
    """Return the value as a type wants it, or `INVALID` after adding to `problems`.

    `others` are keys that are known beside a class's own.
    """
    try:
        return converter().structure(value, kind)
    except REFUSALS as error:
        problems.extend(_problems(error, value, path, others))
        return INVALID


def unknown_key(cls: type, key: str, others: Iterable[str] = ()) -> str:
    """Return what to say of a key that a class does not know: its name today, or close ones."""
    if key in earlier_names(cls):
        return f"unknown key; it is called {earlier_names(cls)[key]!r} now"
    closest = did_you_mean(key, [*(entry.key for entry in entries(cls)), *others])
    return f"unknown key{closest or '; no options are taken here'}"


def _problems(
    error: Exception, value: Any, path: KeyPath, others: Iterable[str] = ()
) -> list[Problem]:
    """Return the problems of a value in the order in which its keys were written."""
    if isinstance(error, MismatchError):
        return [Problem(path, str(error), hint(error.kind, value))]
    if isinstance(error, KeysError):
        parts = error.parts
    elif isinstance(error, IterableValidationError):
        parts = [(note.index, part) for part, note in error.group_exceptions()[0]]
    else:
        return [_refusal(error, value, path)]
    found: list[Problem] = []
    for key, part in parts:
        if isinstance(part, UnknownKeyError):
            found.append(Problem((*path, key), unknown_key(part.cls, key, others)))
        elif isinstance(part, MissingKeyError):
            found.append(Problem(path, str(part)))
        else:
            found += _problems(part, value[key], (*path, key))
    return found


def _refusal(error: Exception, value: Any, path: KeyPath) -> Problem:
    """Return what a class itself says of its values."""
    text = str(error.args[0]) if error.args else type(error).__name__
    named = re.match(r"'?(\w+)'?", text)
    return Problem((*path, named[1]) if named and named[1] in value else path, text)
