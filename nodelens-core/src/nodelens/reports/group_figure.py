"""A figure of the channel groups and their connections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nodelens.errors import RunError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    from nodelens.channels.groups import ChannelGraph, ChannelGroup

FORMATS = ("svg", "png", "pdf")
PRUNABLE, FROZEN = "#0072b2", "#8a8f94"


def edges(graph: ChannelGraph) -> list[tuple[str, str]]:
    """Return ``(from, to)`` for every pair of groups that one parameter reads and writes."""
    readers: dict[str, list[str]] = {}
    for group in graph:
        for part in group.role("consumer"):
            readers.setdefault(part.parameter, []).append(group.name)
    found = (
        (source, group.name)
        for group in graph
        for part in group.role("producer")
        for source in readers.get(part.parameter, [])
        if source != group.name
    )
    return list(dict.fromkeys(found))


def layers(graph: ChannelGraph) -> dict[str, int]:
    """Return the layer of every group: one after the deepest earlier group that feeds the group."""
    order = [group.name for group in graph]
    depth = dict.fromkeys(order, 0)
    for name in order:
        before = [source for source, target in edges(graph) if target == name]
        earlier = [depth[source] for source in before if order.index(source) < order.index(name)]
        depth[name] = 1 + max(earlier, default=-1)
    return depth


def write_group_figure(graph: ChannelGraph, path: Path) -> None:
    """Draw the groups as boxes, layer by layer from the top, each joined to the groups it feeds.

    Raises `RunError` for another ending than svg, png or pdf, or when the file cannot be written.
    """
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from nodelens.storage.atomic import write_bytes

    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise RunError(f"{path}: a figure is written as {', '.join(FORMATS)}, not {kind or 'that'}")
    places = _places(layers(graph))
    wide = 1 + max((x for x, _ in places.values()), default=0)
    high = 1 + max((y for _, y in places.values()), default=0)
    figure = Figure(figsize=(2.8 * wide, 0.9 * high))
    FigureCanvasAgg(figure)
    _draw(figure.add_axes((0, 0, 1, 1)), graph, places, (wide, high))
    data = BytesIO()
    figure.savefig(data, format=kind, dpi=150)
    write_bytes(path, data.getvalue())


def _places(depth: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Place groups of one layer side by side."""
    filled: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for name, layer in depth.items():
        places[name] = (filled.get(layer, 0), layer)
        filled[layer] = filled.get(layer, 0) + 1
    return places


def _draw(
    axes: Axes, graph: ChannelGraph, places: Mapping[str, tuple[int, int]], size: tuple[int, int]
) -> None:
    axes.set(xlim=(-0.5, size[0] - 0.5), ylim=(size[1] - 0.5, -0.5))
    axes.axis("off")
    boxes = {group.name: _box(axes, group, places[group.name]) for group in graph}
    axes.figure.canvas.draw()
    for source, target in edges(graph):
        near = places[target][1] - places[source][1] == 1
        style = {
            "arrowstyle": "-|>",
            "color": "#9aa0a6",
            "lw": 0.8,
            "patchA": boxes[source].get_bbox_patch(),
            "patchB": boxes[target].get_bbox_patch(),
            "connectionstyle": f"arc3,rad={0.0 if near else 0.45}",
        }
        axes.annotate("", places[target], places[source], arrowprops=style)


def _box(axes: Axes, group: ChannelGroup, place: tuple[int, int]) -> Text:
    edge = PRUNABLE if group.prunable else FROZEN
    line = "dashed" if group.normalised else "solid"
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": edge, "ls": line}
    text = f"{group.name}\n{group.width} nodes"
    return axes.text(*place, text, ha="center", va="center", fontsize=7, bbox=box, zorder=3)
