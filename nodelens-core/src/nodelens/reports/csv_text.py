"""Rows as CSV that spreadsheets show and never execute."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodelens.findings.finding import Cell

_EXECUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Texts that begin so may be read as formulas; the last four are the wide forms of the first."""

QUOTE = "'"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return rows as CSV: full precision, missing cells empty, lines end with a line feed.

    A text that a spreadsheet might execute gets an apostrophe in front, and so does one that begins
    with an apostrophe: taking one away gives every text back.
    """
    lines = _Lines()
    writer = csv.writer(lines)
    writer.writerow([_shown(column) for column in columns])
    writer.writerows([_shown(cell) for cell in row] for row in rows)
    return "".join(lines)


class _Lines(list[str]):
    """Lines of CSV; the writer quotes a line break only where it may end a line."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def _shown(cell: Cell) -> Cell:
    guarded = isinstance(cell, str) and cell.startswith((*_EXECUTED, QUOTE))
    return f"{QUOTE}{cell}" if guarded else cell
