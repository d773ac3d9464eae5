"""The result of a stage as plain values, which storage and reports handle for any plugin."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen

Cell = str | int | float | bool | None


@frozen
class Table:
    """A table with a title; numbers are kept as numbers for sorting and export."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@frozen
class Line:
    """One curve: ``x`` and ``y`` of equal length, and an optional band from `low` to `high`."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    style: Literal["solid", "dashed", "dotted"] = "solid"


@frozen
class LinePlot:
    """Curves over a common axis."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    note: str = ""
    log_y: bool = False


@frozen
class Heatmap:
    """A matrix with labels; None is drawn as missing, never as zero."""

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    note: str = ""
    limits: tuple[float, float] | None = None


@frozen
class Series:
    """Points of one label, with optional standard errors, one for each point."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    se: tuple[float, ...] = ()


@frozen
class ScatterPlot:
    """Clouds of points, with bars of two standard errors where a series has them."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""
    log_x: bool = False
    log_y: bool = False


@frozen
class Bars:
    """One bar per label, with optional intervals from `low` to `high`; None where none is known."""

    name: str
    title: str
    y_label: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    note: str = ""


Plot = LinePlot | Heatmap | ScatterPlot | Bars


@frozen
class Finding:
    """The result of one stage.

    `headline` holds the sentences that belong at the top of a report; `warnings` what a reader must
    not miss; `data` the numbers as JSON values (no NaN: use None), for machines.
    """

    kind: str
    name: str
    title: str
    headline: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    data: dict[str, Any] = field(factory=dict)  # Any: JSON values of each component's own shape
