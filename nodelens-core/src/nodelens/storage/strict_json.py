"""Strict JSON: no NaN, no infinity, plain values only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nodelens.errors import RunError

_WIDTH = 100


def to_text(value: object, what: str) -> str:
    """Return a value as JSON text that ends with a newline; `what` names the file in errors.

    Numpy scalars and arrays become numbers and lists, sets become sorted lists, paths become text.
    Mappings keep their order. Raises `RunError` with the place of a value that has no JSON form.
    """
    return _layout(plain(value, what, ""), 0) + "\n"


def plain(value: object, what: str, place: str) -> Any:
    """Return a value as dicts, lists, text, numbers, bools and None, as `to_text` writes it."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal(what, place, f"{value} is not a number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value, what, place)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [plain(item, what, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    raise _refusal(what, place, f"a {type(value).__name__} has no JSON form")


def _plain_mapping(value: Mapping[Any, Any], what: str, place: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise _refusal(what, place, f"the key {key!r} is not text")
    return {key: plain(item, what, f"{place}.{key}") for key, item in value.items()}


def from_text(text: str, what: str) -> Any:
    """Return the value of a JSON text; raises `RunError` when it is not strict JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{what}: not valid JSON ({error}); it was changed or damaged after the run wrote it"
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _refusal(what: str, place: str, problem: str) -> RunError:
    where = place.removeprefix(".") or "the value"
    return RunError(f"{what}: {where}: {problem}; give finite numbers, text or None, keys as text")


def _layout(value: Any, indent: int) -> str:
    """Return the text of a JSON value; short values and lists of scalars take one line."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if indent + len(flat) <= _WIDTH or not _is_nested(value):
        return flat
    if isinstance(value, dict):
        items = [
            f"{json.dumps(key, ensure_ascii=False)}: {_layout(item, indent + 2)}"
            for key, item in value.items()
        ]
    else:
        items = [_layout(item, indent + 2) for item in value]
    inner = f",\n{' ' * (indent + 2)}".join(items)
    return f"{flat[0]}\n{' ' * (indent + 2)}{inner}\n{' ' * indent}{flat[-1]}"


def _is_nested(value: object) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)
