"""Figures and tables as files of the run folder, for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.findings.finding import Finding, Plot
from nodelens.reports.figures import Format, figure_name, render
from nodelens.reports.tables import table_name, to_csv, to_latex
from nodelens.storage.atomic import write_bytes

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder


@frozen
class Drawing:
    """A drawn plot, by format; or the `problem` that prevented drawing."""

    finding: Finding
    plot: Plot
    name: str
    files: Mapping[Format, bytes]
    problem: str = ""


def draw_all(findings: Sequence[Finding], formats: Sequence[Format]) -> list[Drawing]:
    """Return every plot of the findings, as SVG and in the requested formats."""
    wanted: tuple[Format, ...] = tuple(dict.fromkeys(("svg", *formats)))
    return [_drawing(finding, plot, wanted) for finding in findings for plot in finding.plots]


def write_figures(
    run: RunFolder, drawings: Sequence[Drawing], formats: Sequence[Format]
) -> list[Path]:
    """Write ``figures/<kind>.<finding>.<plot>.<format>`` and return the paths."""
    paths = []
    for drawing in drawings:
        for kind in formats:
            if kind in drawing.files:
                path = run.file(f"figures/{drawing.name}.{kind}")
                write_bytes(path, drawing.files[kind])
                paths.append(path)
    return paths


def write_tables(run: RunFolder, findings: Sequence[Finding]) -> list[Path]:
    """Write ``tables/<kind>.<finding>.<table>.csv`` and ``.tex`` and return the paths."""
    paths = []
    for finding in findings:
        for table in finding.tables:
            for ending, text in (("csv", to_csv(table)), ("tex", to_latex(table))):
                relative = f"tables/{table_name(finding, table)}.{ending}"
                run.write_text(relative, text)
                paths.append(run.file(relative))
    return paths


def _drawing(finding: Finding, plot: Plot, formats: Sequence[Format]) -> Drawing:
    """Draw a plot; values that cannot be drawn become a notice in the report."""
    name = figure_name(finding, plot)
    try:
        return Drawing(finding, plot, name, render(plot, formats))
    except (ValueError, TypeError, IndexError) as error:
        return Drawing(finding, plot, name, {}, f"{plot.title}: cannot be drawn ({error})")
