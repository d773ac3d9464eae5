"""Values in files that NodeLens writes: numbered by format, and checked when read."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from nodelens.config.class_keys import entries, limited
from nodelens.config.constraints import written_values
from nodelens.config.converter import converter
from nodelens.config.structuring import fit
from nodelens.errors import FormatError, RunError

_T = TypeVar("_T")


def to_stored(value: object, number: int) -> dict[str, Any]:
    """Return an attrs object as JSON values, with the number of their format."""
    return {"format": number, **converter().unstructure(value)}


def from_stored(kind: type[_T], value: Any, what: str, number: int, noun: str) -> _T:
    """Return what `to_stored` has written.

    Args:
        kind: the attrs class; every key of it is there.
        value: the JSON values.
        what: the file, for errors.
        number: the one format that is read.
        noun: what the values are, for errors: ``finding``.

    Returns:
        The object.

    Raises:
        FormatError: for another format.
        RunError: for values of another kind, with the first that is wrong.
    """
    if not isinstance(value, dict):
        raise damaged(what, f"not a {noun}")
    if value.get("format") != number or isinstance(value["format"], bool):
        raise FormatError(
            f"{what}: {noun} of format {value.get('format')!r}, this version reads {number}; run "
            "again, or use the NodeLens version that wrote it"
        )
    cls: Any = kind
    missing = [each.key for each in entries(cls) if each.key not in value]
    if missing:
        raise damaged(what, f"not a {noun}: no {missing[0]!r}")
    return restored(kind, {key: item for key, item in value.items() if key != "format"}, what)


def restored(kind: type[_T], value: Any, what: str) -> _T:
    """Return what a file holds of a type; raises `RunError` where it holds something else."""
    problems: list[Any] = []
    with written_values():
        found: _T = fit(limited(kind), value, (), problems)
    if problems:
        raise damaged(what, problems[0].text)
    return found


def restored_text(kind: type[_T], text: str | None, what: str) -> _T:
    """Return what a JSON text of a file holds of a type; raises `RunError` for anything else."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise damaged(what, f"its metadata are not JSON ({error})") from error
    return restored(kind, value, what)


def damaged(what: str, problem: str) -> RunError:
    """Return the error of a file that no longer holds what was written."""
    return RunError(f"{what}: {problem}; it was changed or damaged after the run wrote it")
