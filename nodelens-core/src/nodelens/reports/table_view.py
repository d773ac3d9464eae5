"""Tables for the page: texts with few digits, keys to sort by, long tables folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.reports.numbers import column, is_number, with_error

if TYPE_CHECKING:
    from nodelens.findings.finding import Cell, Table

_FOLDED = 30
"""The largest number of rows of a table that is not folded."""

_SHOWN = 2000
"""The largest number of rows of a table on a page; the CSV file has all."""


@frozen
class ViewCell:
    """A cell's text and, for a number, the exact value to sort by."""

    text: str
    key: str = ""


@frozen
class ViewColumn:
    """A column's heading and cells; `numeric` ones are aligned and sorted as numbers."""

    heading: str
    numeric: bool
    cells: tuple[ViewCell, ...]


@frozen
class TableView:
    """A table ready for the page; `file` is its CSV, empty for a table that is not stored."""

    title: str
    note: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[tuple[ViewCell, bool], ...], ...]
    total: int
    file: str

    @property
    def folded(self) -> bool:
        """Whether the table is long enough to be folded."""
        return self.total > _FOLDED


def view(table: Table, file: str = "") -> TableView:
    """Return a table for the page; a column of standard errors joins the column before."""
    shown = table.rows[:_SHOWN]
    cells = [tuple(row[index] for row in shown) for index in range(len(table.columns))]
    columns = _columns(table.columns, cells)
    flags = [part.numeric for part in columns]
    rows = zip(*(part.cells for part in columns), strict=True)
    return TableView(
        title=table.title,
        note=table.note,
        headings=tuple((part.heading, part.numeric) for part in columns),
        rows=tuple(tuple(zip(row, flags, strict=True)) for row in rows),
        total=len(table.rows),
        file=file,
    )


def _columns(names: Sequence[str], cells: Sequence[tuple[Cell, ...]]) -> list[ViewColumn]:
    columns, index = [], 0
    while index < len(names):
        if index + 1 < len(names) and _is_error(names[index], names[index + 1]):
            columns.append(_with_errors(names[index], cells[index], cells[index + 1]))
            index += 2
        else:
            columns.append(_column(names[index], cells[index]))
            index += 1
    return columns


def _is_error(name: str, following: str) -> bool:
    words = following.lower().replace("_", " ")
    return words in (f"{name.lower().replace('_', ' ')} se", "se", "± se", "standard error")


def _column(name: str, cells: tuple[Cell, ...]) -> ViewColumn:
    filled = [cell for cell in cells if cell is not None]
    numeric = bool(filled) and all(is_number(cell) for cell in filled)
    shown = zip(column(cells), cells, strict=True)
    return ViewColumn(name, numeric, tuple(ViewCell(text, _key(cell)) for text, cell in shown))


def _with_errors(name: str, cells: tuple[Cell, ...], errors: tuple[Cell, ...]) -> ViewColumn:
    pairs = zip(cells, errors, strict=True)
    joined = tuple(ViewCell(_joined(cell, error), _key(cell)) for cell, error in pairs)
    return ViewColumn(f"{name} ± se", True, joined)


def _joined(cell: Cell, error: Cell) -> str:
    if isinstance(cell, int | float) and isinstance(error, int | float):
        return with_error(cell, error)
    return column([cell])[0]


def _key(cell: Cell) -> str:
    return repr(cell) if is_number(cell) else ""
