"""What to do about a value that is not what its type expects."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from nodelens.config.class_keys import LISTS
from nodelens.config.constraints import split
from nodelens.config.converter import REFUSALS, converter
from nodelens.config.words import UNIONS
from nodelens.config.yaml12 import plain_scalar


def hint(kind: Any, value: Any) -> str:
    """Return what to write instead, or an empty text where that is not known."""
    plain, _ = split(kind)
    origin, arguments = get_origin(plain), get_args(plain)
    if plain is int and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if plain in (int, float) and isinstance(value, str):
        return "take the quotes away" if isinstance(plain_scalar(value), int | float) else ""
    if plain in (str, Path) and isinstance(value, bool | int | float):
        return "put it in quotes"
    if origin is Literal and isinstance(value, str):
        from difflib import get_close_matches

        texts = {each.lower(): each for each in arguments if isinstance(each, str)}
        close = get_close_matches(value.lower(), texts, n=1)
        return f"did you mean {texts[close[0]]!r}?" if close else ""
    if origin in UNIONS:
        found = [hint(each, value) for each in arguments if split(each)[0] is not NoneType]
        return found[0] if len(found) == 1 else ""
    if origin in LISTS and arguments[1:] in ((), (...,)):
        return _item(arguments[0], value)
    return ""


def _item(kind: Any, value: Any) -> str:
    """Return how to write a list of the one item that was given in place of a list."""
    if isinstance(value, list | dict | None):
        return ""
    try:
        converter().structure(value, kind)
    except REFUSALS:
        return ""
    return f"write [{value}]"
