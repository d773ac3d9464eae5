"""Lines of text files, each checked, with its number for errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nodelens.errors import DataError

LONGEST = 1 << 28
"""Characters of the longest line that is read as one record."""


def numbered_lines(path: Path, longest: int) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text, with or without a byte order mark, and their numbers.

    Lines of more than `longest` characters come in parts of one number. Raises `DataError` with
    the line for what is not UTF-8.
    """
    number = 1
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        while line := file.readline(longest):
            check_text(line, f"{path}, line {number}")
            yield number, line
            number += line.endswith("\n")


def check_text(text: str, where: str) -> None:
    """Raise `DataError` for a text that has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        character = ord(text[error.start])
        if 0xDC80 <= character <= 0xDCFF:
            reason = f"not UTF-8 text (the byte {character - 0xDC00:02x})"
        else:
            reason = f"half a character (the lone surrogate {character:04x})"
        raise DataError(f"{where}: {reason}; save the file as UTF-8") from None


def parsed(text: str, where: str, lines: bool = False) -> Any:
    """Return the value of a JSON text, of several `lines`; raises `DataError` with the place."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"{where}, line {error.lineno}" if lines else where
        raise DataError(f"{at}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read ({error})") from error
    if "\\ud" in text.lower():
        check_text(json.dumps(value, ensure_ascii=False), where)
    return value


def records_of_lines(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield the values of JSON Lines with their places; raises `DataError` with the line."""
    for number, line in numbered_lines(path, LONGEST):
        where = f"{path}, line {number}"
        if len(line) == LONGEST and not line.endswith("\n"):
            raise DataError(f"{where}: longer than {LONGEST:,} characters")
        if line.strip():
            yield parsed(line, where), where
