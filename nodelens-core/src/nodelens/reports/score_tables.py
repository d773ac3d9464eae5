"""Scores as CSV: one row per node and metric, and one per layer and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.findings.finding import Cell, Table
from nodelens.reports.csv_text import csv_text
from nodelens.scoring.scores import COLUMNS

if TYPE_CHECKING:
    from nodelens.scoring.scores import Scores

LAYER_COLUMNS = ("metric", "group", "value", "se", "higher_is_better", "unit")


def scores_csv(scores: Scores) -> str:
    """Return the scores of all nodes, in full precision."""
    return csv_text(COLUMNS, scores.rows())


def layers_csv(scores: Scores) -> str:
    """Return the values of layer metrics as CSV, in full precision."""
    return csv_text(LAYER_COLUMNS, layer_rows(scores))


def layer_rows(scores: Scores) -> list[tuple[Cell, ...]]:
    """Return one row per layer metric and group, in the order of `LAYER_COLUMNS`."""
    return [
        (
            score.metric,
            score.group,
            float(score.values[0]),
            None if score.se is None else float(score.se[0]),
            score.higher_is_better,
            score.unit,
        )
        for score in scores.layers.values()
    ]


def layers_table(scores: Scores) -> Table:
    """Return the values of layer metrics as a table of the report."""
    return Table(
        name="layers",
        title="Layers",
        columns=("metric", "group", "value", "value se", "unit"),
        rows=tuple((*row[:4], "" if row[5] == "1" else row[5]) for row in layer_rows(scores)),
        note="One number per channel group; such metrics rank no nodes.",
    )
