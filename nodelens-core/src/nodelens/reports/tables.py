"""Tables of findings as CSV, for machines, and as LaTeX (booktabs), for papers.

LaTeX is written by hand: tabulate has no caption, and leaves ``±`` and line breaks as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodelens.printable import printable
from nodelens.reports.csv_text import csv_text
from nodelens.reports.numbers import MINUS, column, is_number
from nodelens.storage.names import file_name

if TYPE_CHECKING:
    from nodelens.findings.finding import Cell, Finding, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    "–": "--",
    "\u202f": r"\,",
    "\n": " ",
}


def table_name(finding: Finding, table: Table) -> str:
    """Return the name of a table's files, without folder and ending."""
    return ".".join(file_name(part) for part in (finding.kind, finding.name, table.name))


def to_csv(table: Table) -> str:
    """Return the table as CSV; see `nodelens.reports.csv_text`."""
    return csv_text(table.columns, table.rows)


def to_latex(table: Table) -> str:
    """Return the table as a LaTeX ``table`` with booktabs rules; every text is escaped."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    shown = zip(*(column(cells) for cells in columns), strict=True)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape_latex(table.title)}}}",
        rf"  \begin{{tabular}}{{{''.join(_alignment(cells) for cells in columns)}}}",
        r"    \toprule",
        f"    {_latex_row(table.columns)}",
        r"    \midrule",
        *(f"    {_latex_row(row)}" for row in shown),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Return a text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in printable(text))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"


def _alignment(cells: Sequence[Cell]) -> str:
    filled = [cell for cell in cells if cell is not None]
    return "r" if filled and all(is_number(cell) for cell in filled) else "l"
