"""Names of lines stand where the lines end."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from nodelens.findings.finding import Line, LinePlot
from nodelens.reports.line_drawing import draw_lines


@pytest.mark.parametrize("log_y", [False, True])
def test_a_name_stands_at_the_height_of_the_end_of_its_line(log_y):
    lines = (Line("low", (1.0, 100.0), (2.0, 1.0)), Line("high", (1.0, 100.0), (9.0, 10.0)))
    figure = Figure()
    axes = figure.add_subplot()
    draw_lines(axes, LinePlot("p", "P", "x", "y", lines, log_y=log_y))
    figure.draw_without_rendering()
    to_axes = axes.transData - axes.transAxes
    for line, text in zip(lines, axes.texts, strict=True):
        assert text.get_text() == line.label
        end = to_axes.transform((line.x[-1], line.y[-1]))[1]
        assert text.get_position()[1] == pytest.approx(end, abs=0.02)
