import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rcParams

from nodelens.findings.finding import (
    Bars,
    Finding,
    Heatmap,
    Line,
    LinePlot,
    ScatterPlot,
    Series,
)
from nodelens.reports.drawing import draw
from nodelens.reports.figures import caption, figure_name, render
from nodelens.reports.line_drawing import spread
from nodelens.reports.style import PALETTE, shorten

POINTS = (0.0, 0.5, 1.0)
LINES = LinePlot("l", "L", "x", "y", (Line("a", POINTS, POINTS), Line("b", POINTS, POINTS)))
HEAT = Heatmap("h", "H", ("r",), ("c", "d"), ((0.5, None),))
CLOUD = ScatterPlot("s", "S", "x", "y", (Series("a", POINTS, POINTS, (0.1, 0.1, 0.1)),))
BARS = Bars("b", "B", "y", ("a", "b"), (1.0, -1.0), (0.5, None), (1.1, None), "Lines.")
MARKS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def svg(plot):
    return render(plot, ("svg",))["svg"].decode()


def texts(plot):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg(plot)).iter()]


@pytest.mark.parametrize("plot", [LINES, HEAT, CLOUD, BARS], ids=lambda plot: plot.name)
def test_every_kind_is_drawn_in_every_format_and_twice_alike(plot):
    first, second = render(plot, ("svg", "png", "pdf")), render(plot, ("svg", "png", "pdf"))
    assert first == second
    assert all(first[kind].startswith(mark) for kind, mark in MARKS.items())


@pytest.mark.parametrize(
    "plot",
    [
        LinePlot("l", "L", "x", "y", ()),
        LinePlot("l", "L", "x", "y", (Line("none", (), ()), Line("one", (1.0,), (2.0,)))),
        LinePlot("l", "L", "x", "y", (Line("a", POINTS, POINTS),), log_y=True),
        LinePlot("l", "L", "x", "y", tuple(Line(str(n), POINTS, POINTS) for n in range(40))),
        Heatmap("h", "H", ("r",), ("c",), ((None,),)),
        Heatmap("h", "H", ("r",), ("c",), ((1.0,),)),
        ScatterPlot("s", "S", "x", "y", (Series("a", (), ()),), log_x=True),
        ScatterPlot("s", "S", "x", "y", (Series("a", (0.0,), (0.0,)),), log_x=True, log_y=True),
        Bars("b", "B", "y", (), ()),
        Bars("b", "B", "y", tuple(map(str, range(200))), (1.0,) * 200),
    ],
)
def test_unusual_plots_are_drawn(plot):
    ElementTree.fromstring(svg(plot))


def test_large_heatmaps_are_drawn_with_fewer_labels():
    names = tuple(f"node{number}" for number in range(100))
    values = tuple(tuple(row) for row in np.eye(100).tolist())
    drawn = texts(Heatmap("h", "H", names, names, values))
    assert "node0" in drawn
    assert "node1" not in drawn


def test_labels_are_text_not_markup():
    label = "a$b_c$ <script> 網 \\frac"
    plot = LinePlot("l", label, label, label, (Line(label, POINTS, POINTS),))
    assert label in texts(plot)


def test_lines_of_one_label_share_a_colour():
    lines = (Line("a", POINTS, POINTS), Line("a", POINTS, POINTS[::-1], style="dashed"))
    assert PALETTE[1] not in svg(LinePlot("l", "L", "x", "y", lines))


def test_values_at_or_below_zero_stay_on_a_logarithmic_axis():
    plot = ScatterPlot("s", "S", "x", "y", (Series("a", (1.0, 2.0), (-0.1, 0.1)),), log_y=True)
    assert "−0.1" in texts(plot)


@pytest.mark.parametrize(
    "values",
    [(2.0, 3.0), (0.2, 8.0), (1.01, 1.02), (40.0, 60.0), (1e-5, 1e3), (0.03, 0.03), (-3.0, 8.0)],
    ids=str,
)
def test_a_logarithmic_axis_has_labelled_ticks(values):
    plot = LinePlot("l", "L", "x", "y", (Line("a", (0.0, 1.0), values),), log_y=True)
    (axes,) = draw(plot).axes
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    shown = [label.get_text() for place, label in ticks if low <= place <= high]
    assert len(set(shown) - {""}) >= 2
    assert len(set(shown)) == len(shown)


def test_an_interval_is_drawn_from_end_to_end_and_only_where_it_is_known():
    (axes,) = draw(BARS).axes
    (container,) = axes.containers[1:]
    (line,) = container.lines[2][0].get_segments()
    assert line.tolist() == [[0.5, 0.0], [1.1, 0.0]]


def test_heatmap_cells_show_their_numbers_and_no_negative_zero():
    drawn = texts(Heatmap("h", "H", ("r",), ("a", "b"), ((-0.75, -0.001),), limits=(-1, 1)))
    assert "−0.75" in drawn
    assert "0.00" in drawn
    assert "−0.00" not in drawn


def test_settings_of_the_caller_stay():
    before = dict(rcParams)
    svg(BARS)
    assert dict(rcParams) == before


def test_pyplot_is_not_imported():
    program = (
        "import sys; from nodelens.findings import finding as parts;"
        "from nodelens.reports import figures;"
        "figures.render(parts.Bars('b', 'B', 'y', ('a',), (1.0,)), ('png',));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_error_bars_are_explained():
    assert caption(BARS) == "Lines."
    assert caption(CLOUD) == "Error bars: ± 2 standard errors."
    assert caption(HEAT) == ""


def test_file_names_are_safe():
    name = figure_name(Finding("analysis", "../x", "X"), LINES)
    assert name.startswith("analysis.x-")
    assert "/" not in name


def test_long_labels_are_cut_in_the_middle():
    assert shorten("encoder.layers.11.self_attention:heads", 21) == "encoder.la…tion:heads"
    assert shorten("short") == "short"


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.5], [0.5]),
        ([0.5, 0.5], [0.5, 0.6]),
        ([1.0, 1.0], [0.9, 1.0]),
        ([0.2, 0.0, 0.1], [0.2, 0.0, 0.1]),
        ([-5.0, 9.0], [0.0, 1.0]),
        ([], []),
    ],
)
def test_names_at_line_ends_move_apart(heights, placed):
    assert spread(heights, 0.1) == pytest.approx(placed)
