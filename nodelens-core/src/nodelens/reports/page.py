"""The page ``report.html``: the contents of a run folder in one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nodelens.findings.finding import Finding
from nodelens.findings.finding_json import finding_from_json, finding_to_json
from nodelens.printable import printable, printable_values
from nodelens.reports import provenance_tables as provenance
from nodelens.reports import score_view
from nodelens.reports.artifacts import Drawing, draw_all, write_figures, write_tables
from nodelens.reports.figures import Format, caption
from nodelens.reports.inline_svg import inline_svg
from nodelens.reports.overview import Overview, RunContent, overview, read_content
from nodelens.reports.score_tables import layers_table
from nodelens.reports.table_view import TableView, view
from nodelens.reports.tables import table_name

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder

_PAGE = "report.html"


@frozen
class FigureView:
    """A figure of the page."""

    number: int
    title: str
    caption: str
    drawing: Markup


@frozen
class SectionView:
    """The section of one finding on the page."""

    key: str
    finding: Finding
    figures: tuple[FigureView, ...]
    tables: tuple[TableView, ...]


def write_page(run: RunFolder, formats: Sequence[Format]) -> list[Path]:
    """Write the page, every figure in `formats`, every table as CSV and LaTeX; return the files."""
    content = read_content(run)
    content = evolve(content, findings=tuple(_readable(each) for each in content.findings))
    drawings = draw_all(content.findings, formats)
    files = write_figures(run, drawings, formats) + write_tables(run, content.findings)
    run.write_text(_PAGE, _html(run, content, drawings))
    return [*files, run.file(_PAGE)]


def _readable(finding: Finding) -> Finding:
    """Return a finding without control characters, which figures cannot hold either."""
    return finding_from_json(printable_values(finding_to_json(finding)), finding.name)


def _html(run: RunFolder, content: RunContent, drawings: Sequence[Drawing]) -> str:
    # Autoescape holds for every template: names, labels and errors come from users and plugins.
    loader = PackageLoader("nodelens.reports", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_source(loader, environment, name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        top=_top(content, drawings),
        sections=_sections(content.findings, drawings),
        facts=provenance.facts(content.record),
        provenance=[view(table) for table in provenance.tables(run, content.record)],
        config=run.read_text("config.yaml") if run.has("config.yaml") else "",
        **_scores(content),
    )


def _source(loader: PackageLoader, environment: Environment, name: str) -> Markup:
    """Return a file of the package that the page includes unchanged."""
    source, _, _ = loader.get_source(environment, name)
    return Markup(source)


def _top(content: RunContent, drawings: Sequence[Drawing]) -> Overview:
    top = overview(content)
    problems = tuple(drawing.problem for drawing in drawings if drawing.problem)
    return evolve(top, warnings=(*top.warnings, *problems))


def _sections(findings: Sequence[Finding], drawings: Sequence[Drawing]) -> list[SectionView]:
    drawn = [drawing for drawing in drawings if not drawing.problem]
    figures = [(item.finding, _figure(number, item)) for number, item in enumerate(drawn, 1)]
    return [
        SectionView(
            key=f"finding-{number}",
            finding=finding,
            figures=tuple(figure for owner, figure in figures if owner is finding),
            tables=tuple(
                view(table, f"tables/{table_name(finding, table)}.csv") for table in finding.tables
            ),
        )
        for number, finding in enumerate(findings, 1)
    ]


def _figure(number: int, drawing: Drawing) -> FigureView:
    plot = drawing.plot
    svg = inline_svg(drawing.files["svg"].decode(), f"figure-{number}", plot.title)
    return FigureView(number, plot.title, caption(plot), svg)


def _scores(content: RunContent) -> dict[str, Any]:
    scores = content.scores
    if scores is None:
        empty = {"metrics": (), "extremes": None, "layers": None, "skipped": None}
        empty["without_interval"] = None
        return {**empty, "samples": 0}
    skipped, layers = score_view.skipped(scores), layers_table(scores)
    without = score_view.without_interval(scores)
    return {
        "metrics": score_view.metric_views(scores),
        "extremes": view(score_view.extremes(scores), "scores.csv") if len(scores) else None,
        "layers": view(layers, "layers.csv") if layers.rows else None,
        "skipped": view(skipped) if skipped.rows else None,
        "without_interval": view(without) if without.rows else None,
        "samples": scores.samples,
    }
