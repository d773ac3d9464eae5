"""Layer metrics as curves over the depth of the model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.findings.finding import Cell, Finding, Line, LinePlot, Table

if TYPE_CHECKING:
    from nodelens.scoring.scores import Score, Scores

_SENTENCES = 8
"""Ranges that are reported as sentences; a table has all."""

_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")


@frozen
class Profile:
    """The values of one layer metric, with errors, on groups that differ in the layer's number."""

    metric: str
    pattern: str
    unit: str
    layers: tuple[int, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]

    def sentence(self) -> str:
        """Return a sentence with the range of the values and the layers at both ends."""
        pairs = list(zip(self.values, self.layers, strict=True))
        (low, first), (high, last) = min(pairs), max(pairs)
        return (
            f"{self.metric} of {self.pattern}: {low:.3g} (layer {first}) to {high:.3g} "
            f"(layer {last}), median {median(self.values):.3g}"
        )

    def row(self) -> tuple[Cell, ...]:
        """Return the values' range as a row of a table."""
        least, most = min(self.values), max(self.values)
        return (self.metric, self.pattern, len(self.values), least, median(self.values), most)


def profiles(scores: Scores) -> Finding:
    """Return every layer metric along the depth, as figures and tables."""
    found = list(_profiles(scores))
    by_metric: dict[str, list[Profile]] = {}
    for profile in found:
        by_metric.setdefault(profile.metric, []).append(profile)
    columns = ("metric", "groups", "layers", "least", "median", "most")
    rows = tuple(profile.row() for profile in found)
    table = Table("ranges", "Layer metrics along the depth", columns, rows)
    return Finding(
        kind="analysis",
        name="layers",
        title="Layers along the depth",
        headline=tuple(_headline(found)),
        tables=(table, *itertools.starmap(_table, by_metric.items())) if rows else (),
        plots=tuple(itertools.starmap(_plot, by_metric.items())),
        data={
            "profiles": [
                {
                    "metric": each.metric,
                    "groups": each.pattern,
                    "layers": list(each.layers),
                    "values": list(each.values),
                    "se": list(each.errors) or None,
                }
                for each in found
            ]
        },
    )


def _headline(found: Sequence[Profile]) -> Iterator[str]:
    if not found:
        yield "no layer metric has values in two or more layers"
    yield from (profile.sentence() for profile in found[:_SENTENCES])
    if rest := len(found[_SENTENCES:]):
        yield f"{rest} more ranges are in the table"


def _profiles(scores: Scores) -> Iterator[Profile]:
    rows: dict[tuple[str, str], list[tuple[int, Score]]] = {}
    for score in scores.layers.values():
        number = _NUMBER.search(score.group)
        if number is not None:
            pattern = f"{score.group[: number.start()]}*{score.group[number.end() :]}"
            rows.setdefault((score.metric, pattern), []).append((int(number.group()), score))
    for (metric, pattern), found in rows.items():
        ordered = sorted(found, key=lambda pair: pair[0])
        if len(ordered) > 1:
            yield _profile(metric, pattern, ordered)


def _profile(metric: str, pattern: str, found: Sequence[tuple[int, Score]]) -> Profile:
    errors = [float(score.se[0]) for _, score in found if score.se is not None]
    return Profile(
        metric=metric,
        pattern=pattern,
        unit=found[0][1].unit,
        layers=tuple(number for number, _ in found),
        values=tuple(float(score.values[0]) for _, score in found),
        errors=tuple(errors) if len(errors) == len(found) else (),
    )


def _table(metric: str, found: Sequence[Profile]) -> Table:
    """Return the values of one metric, a row for each layer; None where a group has no such row."""
    columns, series = ["layer"], []
    starts = {profile.pattern.partition("*")[0] for profile in found}
    shared = f"{starts.pop()}*" if len(starts) == 1 else ""
    for profile in found:
        name = profile.pattern.removeprefix(shared).lstrip(".:")
        columns.append(name)
        series.append(dict(zip(profile.layers, profile.values, strict=True)))
        if profile.errors:
            columns.append(f"{name} se")
            series.append(dict(zip(profile.layers, profile.errors, strict=True)))
    layers = sorted({layer for profile in found for layer in profile.layers})
    rows = tuple((layer, *(each.get(layer) for each in series)) for layer in layers)
    title = f"{metric} by layer" + (f", of {shared}" if shared else "")
    return Table(f"layers_{metric}", title, tuple(columns), rows)


def _plot(metric: str, found: Sequence[Profile]) -> LinePlot:
    unit = found[0].unit
    return LinePlot(
        name=f"layers_{metric}",
        title=f"{metric} along the depth",
        x_label="layer",
        y_label=metric if unit == "1" else f"{metric} ({unit})",
        lines=tuple(_line(profile) for profile in found),
        note="Bands: the standard error over the folds of the samples."
        if any(profile.errors for profile in found)
        else "No bands: these values have no standard errors.",
    )


def _line(profile: Profile) -> Line:
    pairs = list(zip(profile.values, profile.errors, strict=False))
    return Line(
        label=profile.pattern,
        x=tuple(map(float, profile.layers)),
        y=profile.values,
        low=tuple(value - error for value, error in pairs),
        high=tuple(value + error for value, error in pairs),
    )
