"""Sizes of memory: ``2GiB`` as bytes and back."""

from __future__ import annotations

import re

from nodelens.errors import ConfigError

PATTERN = r"[1-9][0-9]*(\.[0-9]+)?(B|KiB|MiB|GiB|TiB)"
"""How a size is written."""

EXPECTED = "a size such as 512MiB or 4GiB"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_bytes(text: str) -> int:
    """Return the bytes of ``512MiB``; raises `ConfigError` for any other text."""
    if not re.fullmatch(PATTERN, text):
        raise ConfigError([f"memory_budget: expected {EXPECTED}, got {text!r}"])
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return int(float(number) * 1024 ** UNITS.index(unit))


def size_text(count: float) -> str:
    """Return bytes for people: ``12 B``, ``3.4 MiB``."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
