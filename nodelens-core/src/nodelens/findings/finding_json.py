"""Findings as JSON values and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodelens.config.class_keys import entries
from nodelens.config.converter import converter
from nodelens.config.structuring import fit
from nodelens.errors import RunError
from nodelens.findings.finding import Finding

if TYPE_CHECKING:
    from nodelens.config.raw import Problem

FORMAT = 1
"""The format of a finding's JSON; another version may have another number."""


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a dict; every plot carries its kind under ``type``."""
    return {"format": FORMAT, **converter().unstructure(finding)}


def finding_from_json(value: Any, what: str) -> Finding:
    """Return the finding that `finding_to_json` has written; raises `RunError` for other values."""
    known = value if isinstance(value, dict) else {}
    if known and known.get("format") != FORMAT:
        raise RunError(
            f"{what}: finding of format {known.get('format')!r}, this version reads {FORMAT}; run "
            "again, or use the NodeLens version that wrote it"
        )
    problems: list[Problem] = []
    try:
        fields = {key: item for key, item in known.items() if key != "format"}
        found: Finding = fit(Finding, fields, (), problems)
        texts = [each.text for each in problems]
        texts += [f"no {each.key!r}" for each in entries(Finding) if each.key not in fields]
    except (KeyError, AttributeError) as error:  # a plot without a kind, or of an unknown one
        texts = [f"plots: {error}"]
    if texts:
        raise RunError(f"{what}: not a finding ({texts[0]}); it was changed after the run wrote it")
    return found
