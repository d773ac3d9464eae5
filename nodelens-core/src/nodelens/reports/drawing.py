"""Drawing of each kind of plot on a matplotlib figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nodelens.findings.finding import Bars, Heatmap, LinePlot, Plot, ScatterPlot, Series
from nodelens.reports import heatmap_drawing, line_drawing
from nodelens.reports.style import INK, MARKERS, MUTED, WIDTH, colour, scale, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 60
"""The largest number of bars with labels; more are too thin for a label."""

_RASTERED = 2000
"""The largest number of points drawn as vectors; more are stored as pixels, which open fast."""


def draw(plot: Plot) -> Figure:
    """Return the plot as a figure; call the function under `nodelens.reports.style.settings`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_size(plot), layout="constrained")
    axes = figure.add_subplot()
    _DRAWERS[type(plot)](axes, plot)
    return figure


def _size(plot: Plot) -> tuple[float, float]:
    if isinstance(plot, LinePlot):
        return WIDTH, line_drawing.height(plot)
    if isinstance(plot, Heatmap):
        return heatmap_drawing.size(plot)
    if isinstance(plot, Bars):
        return WIDTH, 0.8 + 0.22 * min(max(len(plot.labels), 2), _NAMED)
    return WIDTH, 4.0


def _draw_scatter(axes: Axes, plot: ScatterPlot) -> None:
    for number, series in enumerate(plot.series):
        _draw_series(axes, series, number)
    scale(axes, "x", [value for series in plot.series for value in series.x], plot.log_x)
    scale(axes, "y", [value for series in plot.series for value in series.y], plot.log_y)
    axes.grid(axis="both")
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    if len(plot.series) > 1:
        columns = 3 if max(len(series.label) for series in plot.series) < 24 else 2
        axes.figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.3)


def _draw_series(axes: Axes, series: Series, number: int) -> None:
    shade = colour(number)
    if series.se:
        axes.errorbar(
            series.x,
            series.y,
            yerr=[2 * se for se in series.se],
            fmt="none",
            ecolor=shade,
            elinewidth=0.7,
            alpha=0.45,
        )
    axes.scatter(
        series.x,
        series.y,
        s=16,
        color=shade,
        alpha=0.8,
        linewidths=0,
        marker=MARKERS[number % len(MARKERS)],
        label=shorten(series.label),
        rasterized=len(series.x) > _RASTERED,
    )


def _draw_bars(axes: Axes, plot: Bars) -> None:
    places = range(len(plot.labels))
    axes.barh(places, plot.values, height=0.66, color=colour(0), linewidth=0)
    for at, (value, low, high) in enumerate(zip(plot.values, plot.low, plot.high, strict=False)):
        if low is not None and high is not None:
            reach = ([value - low], [high - value])
            axes.errorbar(value, at, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
    named = places if len(plot.labels) <= _NAMED else ()
    axes.set_yticks(named, [shorten(plot.labels[index]) for index in named])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.axvline(0, color=MUTED, linewidth=0.6)
    axes.spines.left.set_visible(False)
    axes.set_ylim(len(plot.labels) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.set_xlabel(plot.y_label)


_DRAWERS: dict[type[Plot], Callable[[Axes, Any], None]] = {
    LinePlot: line_drawing.draw_lines,
    Heatmap: heatmap_drawing.draw_heatmap,
    ScatterPlot: _draw_scatter,
    Bars: _draw_bars,
}
