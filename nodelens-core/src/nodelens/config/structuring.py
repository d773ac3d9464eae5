"""From plain values to what a type wants, or to the problems that stand in the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cattrs import BaseValidationError, ForbiddenExtraKeysError, IterableValidationError

from nodelens.config.class_keys import entries, limited
from nodelens.config.converter import MismatchError, converter
from nodelens.config.correction_hints import hint
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.words import words
from nodelens.errors import NodelensError, RunError, did_you_mean

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
    except (BaseValidationError, ValueError, TypeError, NodelensError) as error:
        problems.extend(_problems(error, value, path, others))
        return INVALID


def restored(kind: Any, value: Any, what: str) -> Any:
    """Return what a file holds of a type; raises `RunError` where it holds something else."""
    problems: list[Problem] = []
    found = fit(limited(kind), value, (), problems)
    if problems:
        raise damaged(what, problems[0].text)
    return found


def damaged(what: str, problem: str) -> RunError:
    """Return the error of a file that no longer holds what was written."""
    return RunError(f"{what}: {problem}; it was changed or damaged after the run wrote it")


def unknown_key(cls: type, key: str, others: Iterable[str] = ()) -> str:
    """Return what to say of a key that a class does not know: its name today, or close ones."""
    known = entries(cls)
    for entry in known:
        if entry.renamed_from == key:
            return f"unknown key; it is called {entry.key!r} now"
    closest = did_you_mean(key, [*(entry.key for entry in known), *others])
    return f"unknown key{closest or '; no options are taken here'}"


def _problems(
    error: Exception, value: Any, path: KeyPath, others: Iterable[str] = ()
) -> list[Problem]:
    """Return the problems of a value in the order in which its keys were written."""
    if isinstance(error, MismatchError):
        return [Problem(path, str(error), hint(error.kind, value))]
    if not isinstance(error, BaseValidationError):
        return [_refusal(error, value, path)]
    found = list(_parts(error, value, path, others))
    order = list(value) if isinstance(value, dict) else range(len(value))
    found.sort(key=lambda part: order.index(part[0]) if part[0] in order else len(order))
    return [problem for _, problems in found for problem in problems]


def _parts(
    error: Any, value: Any, path: KeyPath, others: Iterable[str]
) -> Iterator[tuple[Any, list[Problem]]]:
    """Yield keys, or positions, with their problems."""
    inside, outside = error.group_exceptions()
    listed = isinstance(error, IterableValidationError)
    keys = {} if listed else {entry.name: entry.key for entry in entries(error.cl)}
    for part, note in inside:
        key = note.index if listed else keys[note.name]
        if listed or key in value:
            yield key, _problems(part, value[key], (*path, key))
        else:
            text = f"the key {key!r} is missing; it is {words(note.type)}"
            yield None, [Problem(path, text)]
    for part in outside:
        if isinstance(part, ForbiddenExtraKeysError):
            for key in part.extra_fields:
                yield key, [Problem((*path, key), unknown_key(error.cl, key, others))]
        else:
            yield None, _problems(part, value, path)


def _refusal(error: Exception, value: Any, path: KeyPath) -> Problem:
    """Return what a class itself says of its values; an error of another kind goes on."""
    if not isinstance(error, ValueError | TypeError | NodelensError):
        raise error
    text = str(error.args[0]) if error.args else type(error).__name__
    named = re.match(r"'?(\w+)'?", text)
    return Problem((*path, named[1]) if named and named[1] in value else path, text)
