"""Drawing of a matrix: cells with their numbers, missing cells hatched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodelens.reports.style import PAPER, RULE, WIDTH, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from nodelens.findings.finding import Heatmap

_WRITTEN = 14
"""The largest number of columns of a heatmap that shows its numbers."""

_OUTLINED = 1000
"""The largest number of cells of a heatmap with gaps between cells."""

_RASTERED = 2000
"""The largest number of cells drawn as vectors; more are stored as pixels, which open fast."""


def size(plot: Heatmap) -> tuple[float, float]:
    """Return width and height in inches, with even cells and room for the labels."""
    names = 0.075 * max((len(shorten(row)) for row in plot.rows), default=0)
    foot = 0.25 + 0.055 * max((len(shorten(column)) for column in plot.columns), default=0)
    side = min(0.46, (WIDTH - names - 0.8) / max(len(plot.columns), 1))
    height = min(max(len(plot.rows) * min(side, 0.36), 0.8), 9.0)
    return min(WIDTH, max(3.4, names + 1.0 + side * len(plot.columns))), height + foot


def draw_heatmap(axes: Axes, plot: Heatmap) -> None:
    """Draw the matrix with its colour bar, its first row at the top."""
    from matplotlib.colors import Normalize

    values = np.array(plot.values, dtype=float).reshape(len(plot.rows), len(plot.columns))
    low, high = _limits(values, plot.limits)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values),
        cmap="RdBu_r" if low < 0 < high else "viridis",
        norm=Normalize(low, high),
        edgecolors=PAPER,
        linewidth=0.8 if values.size <= _OUTLINED else 0,
        rasterized=values.size > _RASTERED,
    )
    axes.patch.set(facecolor="none", edgecolor=RULE, hatch="////", linewidth=0)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _name_cells(axes, plot)
    if len(plot.columns) <= _WRITTEN and len(plot.rows) <= 2 * _WRITTEN:
        _write_cells(axes, values, mesh.to_rgba(values))
    bar = axes.figure.colorbar(mesh, ax=axes, shrink=0.7, aspect=18, pad=0.02)
    bar.outline.set_visible(False)


def _limits(values: NDArray[np.float64], given: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of the colour scale, symmetric when values have both signs."""
    if given is not None:
        return given
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < 0 < high:
        high = max(-low, high)
        return -high, high
    return (low, high) if high > low else (low, low + 1.0)


def _name_cells(axes: Axes, plot: Heatmap) -> None:
    """Label rows and columns, every k-th where there are too many to read."""
    for labels, set_ticks, room in (
        (plot.rows, axes.set_yticks, 60),
        (plot.columns, axes.set_xticks, 40),
    ):
        step = max(1, -(-len(labels) // room))
        shown = range(0, len(labels), step)
        set_ticks([index + 0.5 for index in shown], [shorten(labels[index]) for index in shown])
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")


def _write_cells(axes: Axes, values: NDArray[np.float64], shades: Any) -> None:
    luminance = shades[..., :3] @ np.array([0.299, 0.587, 0.114])
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:z.2f}" if abs(value) < 100 else f"{value:.3g}"
            shade = "#111111" if luminance[row, column] > 0.55 else "#fdfdfd"
            axes.text(
                column + 0.5,
                row + 0.5,
                text.replace("-", "−"),
                ha="center",
                va="center",
                fontsize=7.5,
                color=shade,
            )
