"""The style of all figures: colours, type and axes; importing it does not import matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK = "#1c2126"
MUTED = "#667079"
RULE = "#dde1e5"
PAPER = "#ffffff"

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d46")
"""Okabe and Ito's colours without yellow and black, and a brown: safe for colour-blind eyes."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Mapping[str, Any] = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.6))}

WIDTH = 6.6
"""The width of a figure in inches: a text column."""

_FEWEST_TICKS = 3
"""Labelled ticks below which a logarithmic axis says too little."""

_FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")


def settings() -> Any:
    """Return the matplotlib settings of all figures; equal plots then give equal files."""
    return {
        "font.family": _installed_fonts(),
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a `$` in a label is a dollar sign
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "figure.facecolor": PAPER,
        "axes.facecolor": "none",
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "nodelens",
        "pdf.fonttype": 42,
    }


def colour(number: int) -> str:
    """Return the colour of a series by number; colours repeat after the last."""
    return PALETTE[number % len(PALETTE)]


def shorten(label: str, longest: int = 34) -> str:
    """Return a label shortened in the middle, where names of nodes differ least."""
    if len(label) <= longest:
        return label
    head = (longest - 1) // 2
    return f"{label[:head]}…{label[head + 1 - longest :]}"


def scale(axes: Axes, which: str, values: list[float], logarithmic: bool) -> None:
    """Set the scale of the ``x`` or ``y`` axis.

    A logarithmic axis with values at or below zero becomes linear around zero, so that no point
    is left out.
    """
    axis: Axis = getattr(axes, f"{which}axis")
    set_scale = getattr(axes, f"set_{which}scale")
    if logarithmic and values and min(values) > 0:
        set_scale("log")
        _label_ticks(axis)
    elif logarithmic and any(values):
        sizes = [abs(value) for value in values if value]
        set_scale("symlog", linthresh=max(min(sizes), max(sizes) * 1e-4))
        _label_ticks(axis)
    elif values and all(float(value).is_integer() for value in values):
        from matplotlib.ticker import MaxNLocator

        axis.set_major_locator(MaxNLocator(integer=True, nbins="auto"))


def _label_ticks(axis: Axis) -> None:
    """Label the powers of ten as plain numbers, or evenly spaced numbers where these are too few.

    An axis of less than two decades may hold one power of ten, or none.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    if sum(low <= place <= high for place in axis.get_majorticklocs()) < _FEWEST_TICKS:
        axis.set_major_locator(MaxNLocator(nbins=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axis.set_minor_formatter(NullFormatter())


def _installed_fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [font for font in _FONTS if font in installed]
