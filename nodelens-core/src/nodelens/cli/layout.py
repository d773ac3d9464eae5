"""Plain text in columns, as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

import click

from nodelens.printable import printable

GAP = 2
WIDEST = 100


def width() -> int:
    """Return the number of columns to write in: the terminal's, at most 100; 80 without one."""
    return min(shutil.get_terminal_size((80, 24)).columns, WIDEST)


def columns(rows: Sequence[Sequence[str]], indent: int = 0) -> str:
    """Return rows as aligned text; the last column is wrapped into the rest of the width."""
    if not rows:
        return ""
    count = len(rows[0])
    sizes = [max(len(row[column]) for row in rows) for column in range(count - 1)]
    start = indent + sum(sizes) + GAP * len(sizes)
    lines = []
    for row in rows:
        cells = [cell.ljust(size + GAP) for cell, size in zip(row[:-1], sizes, strict=True)]
        head, tail = " " * indent + "".join(cells), wrapped(row[-1], start)
        lines.append((head + tail[start:]).rstrip())
    return "\n".join(lines)


def wrapped(text: str, indent: int) -> str:
    """Return a text wrapped to the width, every line indented; long words are not split."""
    margin = " " * indent
    return textwrap.fill(
        text,
        max(width(), indent + 20),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def echo(text: object, err: bool = False, nl: bool = True, head: str = "") -> None:
    """Print a text without control characters, after a `head` that may have colours."""
    click.echo(head + printable(str(text)), err=err, nl=nl)


def echo_json(value: object) -> None:
    """Print a value as strict JSON."""
    import json

    echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
