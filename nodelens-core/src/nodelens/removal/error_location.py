"""The line of a model's own code where an error was raised."""

from __future__ import annotations

import linecache
from pathlib import Path
from traceback import walk_tb

# Frames of these modules belong to libraries, not to the model.
_MACHINERY = (
    "torch",
    "nodelens.channels",
    "nodelens.masks",
    "nodelens.removal",
    "contextlib",
)
_LONGEST = 80


def place_in_code(error: BaseException) -> str:
    """Return the line of the model's own code that led to an error, an empty text if none did.

    This is the innermost frame outside torch. Where a size is written as a number, or computed from
    one, it is mostly the line with the number.
    """
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if not _is_machinery(str(frame.f_globals.get("__name__", "")))
    ]
    if not frames:
        return ""
    file, line = frames[-1]
    text = linecache.getline(file, line).strip()
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{Path(file).name}, line {line}" + (f": {text}" if text else "")


def _is_machinery(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in _MACHINERY)
