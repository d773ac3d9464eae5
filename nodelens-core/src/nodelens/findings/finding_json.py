"""Findings as JSON values and back."""

from __future__ import annotations

from typing import Any

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.findings.finding import Finding

FORMAT = 2
"""The format of a finding's JSON; another version may have another number."""


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a dict; every plot carries its kind under ``type``."""
    return to_stored(finding, FORMAT)


def finding_from_json(value: Any, what: str) -> Finding:
    """Return the finding that `finding_to_json` has written; raises `RunError` for other values."""
    return from_stored(Finding, value, what, FORMAT, "finding")
