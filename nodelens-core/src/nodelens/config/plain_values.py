"""Plain values: what YAML and JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, has


def plain(value: Any) -> Any:
    """Return a value as dicts, lists and scalars; sets are sorted, paths become text.

    Raises TypeError for what YAML cannot hold.
    """
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if has(type(value)):
        return plain(asdict(value, recurse=False))
    raise TypeError(f"a config cannot hold a value of the type {type(value).__name__}: {value!r}")


def is_json(value: Any) -> bool:
    """Say whether JSON can hold a value: plain, and every number finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(is_json(item) for item in value.values())
    if isinstance(value, list):
        return all(is_json(item) for item in value)
    return isinstance(value, bool | int | str | None)
