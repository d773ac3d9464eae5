"""Inheritance: what a config takes from the files that it extends."""

from __future__ import annotations

from typing import Any

from nodelens.config.raw import KeyPath, Marks, RawConfig
from nodelens.config.schema import is_component


def merge(base: RawConfig, over: RawConfig) -> RawConfig:
    """Return `base` with everything that `over` says put on top.

    Mappings merge key by key; lists and scalars replace. A component whose ``name`` changes is
    replaced whole, since its options belong to the other component. Marks follow the values.
    """
    replaced: list[KeyPath] = []
    value = _merged(base.value, over.value, (), replaced)
    return RawConfig(value, Marks({**base.marks.outside(replaced), **over.marks.places}))


def _merged(
    base: Any,
    over: Any,
    path: KeyPath,
    replaced: list[KeyPath],
) -> Any:
    if is_component(path) and isinstance(base, str) and isinstance(over, dict):
        base = {"name": base}
    if not isinstance(base, dict) or not isinstance(over, dict) or _renamed(base, over, path):
        replaced.append(path)
        return over
    merged = dict(base)
    for key, item in over.items():
        known = key in base
        merged[key] = _merged(base[key], item, (*path, key), replaced) if known else item
    return merged


def _renamed(base: dict[str, Any], over: dict[str, Any], path: KeyPath) -> bool:
    return is_component(path) and over.get("name", base.get("name")) != base.get("name")
