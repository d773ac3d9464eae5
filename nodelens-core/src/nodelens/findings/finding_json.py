"""Findings as JSON values and back."""

from __future__ import annotations

from typing import Any

from nodelens.config.class_keys import entries
from nodelens.config.converter import converter
from nodelens.config.structuring import damaged, restored
from nodelens.errors import RunError
from nodelens.findings.finding import Finding

FORMAT = 1
"""The format of a finding's JSON; another version may have another number."""


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a dict; every plot carries its kind under ``type``."""
    return {"format": FORMAT, **converter().unstructure(finding)}


def finding_from_json(value: Any, what: str) -> Finding:
    """Return the finding that `finding_to_json` has written; raises `RunError` for other values."""
    if not isinstance(value, dict):
        raise damaged(what, "not a finding")
    if value.get("format") != FORMAT:
        raise RunError(
            f"{what}: finding of format {value.get('format')!r}, this version reads {FORMAT}; run "
            "again, or use the NodeLens version that wrote it"
        )
    missing = [each.key for each in entries(Finding) if each.key not in value]
    if missing:
        raise damaged(what, f"not a finding: no {missing[0]!r}")
    fields = {key: item for key, item in value.items() if key != "format"}
    found: Finding = restored(Finding, fields, what)
    return found
