"""Drawing of curves with their bands, and names where the curves end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nodelens.reports.style import DASHES, colour, scale, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nodelens.findings.finding import Line, LinePlot

_MARKED = 24
"""The largest number of points of a line that shows its points."""


def height(plot: LinePlot) -> float:
    """Return the height in inches that leaves room for the name of every line."""
    return max(3.3, 0.9 + 0.19 * len(plot.lines))


def draw_lines(axes: Axes, plot: LinePlot) -> None:
    """Draw every line that has points, its band behind it and its name at its end."""
    lines = [line for line in plot.lines if line.x]
    shades = _shades(lines)
    for line in lines:
        _draw_line(axes, line, shades[line.label])
    values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    scale(axes, "x", [value for line in lines for value in line.x], False)
    scale(axes, "y", values, plot.log_y)
    axes.grid(axis="y")
    axes.margins(x=0.02)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    _label_ends(axes, lines, shades, 11.5 / (72 * (height(plot) - 0.6)))


def _shades(lines: Sequence[Line]) -> dict[str, str]:
    """Return one colour per label: lines of one label differ by their style alone."""
    labels = dict.fromkeys(line.label for line in lines)
    return {label: colour(number) for number, label in enumerate(labels)}


def _draw_line(axes: Axes, line: Line, shade: str) -> None:
    marker = "o" if len(line.x) <= _MARKED else ""
    if line.low and line.high:
        axes.fill_between(line.x, line.low, line.high, color=shade, alpha=0.16, linewidth=0)
    axes.plot(
        line.x,
        line.y,
        color=shade,
        linestyle=DASHES[line.style],
        linewidth=1.5,
        marker=marker,
        markersize=3.2,
        markeredgewidth=0,
    )


def _label_ends(axes: Axes, lines: Sequence[Line], shades: Mapping[str, str], gap: float) -> None:
    """Name each line where it ends, moved apart and joined to its end by a thin rule."""
    ends = [max(zip(line.x, line.y, strict=True)) for line in lines]
    axes.autoscale_view()  # linear axes have their limits only after this
    to_axes = axes.transData - axes.transAxes
    heights = [float(to_axes.transform(end)[1]) for end in ends]
    for number, place in enumerate(spread(heights, gap)):
        axes.annotate(
            shorten(lines[number].label),
            xy=ends[number],
            xytext=(1.045, place),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": shades[lines[number].label],
                "linewidth": 0.9,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights at least `gap` apart, in their order, within 0 and 1 if there is room."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = list(heights)
    lowest = 0.0
    for index in order:
        placed[index] = lowest = max(placed[index], lowest)
        lowest += gap
    highest = max(1.0, gap * (len(heights) - 1))
    for index in reversed(order):
        placed[index] = highest = min(placed[index], highest)
        highest -= gap
    return placed
