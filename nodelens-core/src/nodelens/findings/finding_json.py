"""Findings as JSON values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from attrs import asdict

from nodelens.errors import RunError
from nodelens.findings.finding import (
    Finding,
    Line,
    LinePlot,
    Plot,
    ScatterPlot,
    Series,
    Table,
)

_PLOTS: Mapping[str, type[Plot]] = {plot.__name__: plot for plot in get_args(Plot)}


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a dict; every plot carries its kind under ``type``."""
    plots = [{"type": type(plot).__name__, **asdict(plot)} for plot in finding.plots]
    return asdict(finding) | {"plots": plots}


def finding_from_json(value: object, what: str) -> Finding:
    """Return what `finding_to_json` was given; raises `RunError` for all else."""
    try:
        return _finding(value)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise RunError(
            f"{what}: not a finding ({error}); it was changed after the run wrote it"
        ) from error


def _finding(value: Any) -> Finding:
    fields = dict(value)
    tables = tuple(Table(**_tuples(table)) for table in fields.pop("tables"))
    plots = tuple(_plot(plot) for plot in fields.pop("plots"))
    data = fields.pop("data")
    return Finding(**_tuples(fields), tables=tables, plots=plots, data=data)


def _plot(value: dict[str, Any]) -> Plot:
    fields = _tuples({key: item for key, item in value.items() if key != "type"})
    kind = _PLOTS[value["type"]]
    if kind is LinePlot:
        fields["lines"] = tuple(Line(**line) for line in fields["lines"])
    if kind is ScatterPlot:
        fields["series"] = tuple(Series(**series) for series in fields["series"])
    return kind(**fields)


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, at every depth: parts hold no lists."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
