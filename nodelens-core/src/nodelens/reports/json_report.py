"""The JSON report ``summary.json``: the findings of a run for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.reports.overview import RunContent
    from nodelens.storage.run_folder import RunFolder

_NAME = "summary.json"


@frozen
class JsonReport:
    """Key numbers, sentences, warnings and the data of every finding in one strict JSON file."""

    def write(self, run: RunFolder) -> Sequence[Path]:
        from nodelens.reports.overview import read_content

        run.write_json(_NAME, _summary(read_content(run)))
        return [run.file(_NAME)]


def _summary(content: RunContent) -> dict[str, Any]:
    from nodelens.reports.overview import evaluation, overview

    top = overview(content)
    record = content.record
    return {
        "format": 1,
        "id": record.id,
        "name": top.name,
        "status": top.status,
        "error": record.error,
        "headline": [line for _, lines in top.headline for line in lines],
        "warnings": top.warnings,
        "evaluation": evaluation(content),
        "findings": {
            f"{finding.kind}.{finding.name}": finding.data for finding in content.findings
        },
        "scores": _scores(content),
        "components": record.components,
        "left_out": record.patterns.left_out if record.patterns else {},
    }


def _scores(content: RunContent) -> dict[str, Any] | None:
    from nodelens.reports.score_tables import LAYER_COLUMNS, layer_rows
    from nodelens.reports.score_view import without_interval

    scores = content.scores
    if scores is None:
        return None
    table = without_interval(scores)
    return {
        "metrics": scores.metrics,
        "groups": scores.groups,
        "layers": [dict(zip(LAYER_COLUMNS, row, strict=True)) for row in layer_rows(scores)],
        "samples": scores.samples,
        "skipped": [
            {"metric": metric, "group": group, "reason": reason}
            for (metric, group), reason in scores.skipped.items()
        ],
        "no_interval": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "failed": dict(scores.failed),
    }
