"""Figures of findings as SVG, PNG and PDF; equal plots give equal bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Literal

from nodelens.findings.finding import Finding, Plot, ScatterPlot
from nodelens.storage.names import file_name

Format = Literal["svg", "png", "pdf"]

_ANONYMOUS: dict[Format, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Dates and program names are left out of the files."""

_RESOLUTION = 150


def render(plot: Plot, formats: Sequence[Format]) -> dict[Format, bytes]:
    """Return the plot as the content of one file per format."""
    from nodelens.reports.drawing import draw

    with _figure_settings():
        figure = draw(plot)
        files: dict[Format, bytes] = {}
        for kind in formats:
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, dpi=_RESOLUTION, metadata=_ANONYMOUS[kind])
            files[kind] = buffer.getvalue()
    return files


def figure_name(finding: Finding, plot: Plot) -> str:
    """Return the name of a plot's files, without folder and ending."""
    return ".".join(file_name(part) for part in (finding.kind, finding.name, plot.name))


def caption(plot: Plot) -> str:
    """Return the text under a plot, with error bars explained."""
    bars = isinstance(plot, ScatterPlot) and any(series.se for series in plot.series)
    explained = "Error bars: ± 2 standard errors." if bars else ""
    return " ".join(part for part in (plot.note, explained) if part)


@contextmanager
def _figure_settings() -> Iterator[None]:
    """Set the figures' style for a while; characters that the font lacks are drawn as boxes."""
    from matplotlib import rc_context

    from nodelens.reports.style import settings

    with rc_context(settings()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
