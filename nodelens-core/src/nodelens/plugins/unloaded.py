"""Blocked or failed plugins that may have an unknown name, found without an import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from nodelens.plugins.plugin_selection import ADVICE
from nodelens.plugins.specs import PLURALS, Kind

if TYPE_CHECKING:
    from nodelens.plugins.plugin_record import PluginRecord


OFFERED = "; offered by what is not loaded: "


def absence(records: Sequence[PluginRecord], kind: Kind, name: str) -> str:
    """Return ``; not loaded: …`` with reasons and ways out; empty if all plugins are loaded.

    Of blocked plugins those are listed whose sources have the name, or else the hook of the kind.
    """
    blocked = [record for record in records if record.status == "blocked"]
    able = [record for record in blocked if _registers(record, kind)] or blocked
    named = [record for record in able if record.entry == name]
    owners = named or [record for record in able if _has(record, name)]
    failed = [] if owners else [record.line for record in records if record.status == "failed"]
    by_reason: dict[str, list[str]] = {}
    for record in owners or able:
        by_reason.setdefault(record.reason, []).append(record.name)
    lines = failed + [
        f"{', '.join(names)} ({reason}; {ADVICE[reason]})" for reason, names in by_reason.items()
    ]
    if not lines:
        return ""
    return f"{OFFERED if owners else '; not loaded: '}{'; '.join(lines)}"


def _registers(record: PluginRecord, kind: Kind) -> bool:
    return f"nodelens_register_{PLURALS[kind]}" in next(_sources(record), "")


def _has(record: PluginRecord, name: str) -> bool:
    """Return whether the sources of a plugin have a name as a text, or as a class."""
    quoted = re.compile(rf"[\"']{re.escape(name)}[\"']")
    as_class = re.compile(rf"^class {name.replace('_', '')}\b", re.MULTILINE | re.IGNORECASE)
    return any(quoted.search(text) or as_class.search(text) for text in _sources(record))


def _sources(record: PluginRecord) -> Iterator[str]:
    """Yield the source of the plugin's module, then of a package of its own."""
    *packages, module = record.target.partition(":")[0].strip().split(".")
    places: list[str] | None = None
    for package in packages:
        found = PathFinder.find_spec(package, places)
        places = list(found.submodule_search_locations or ()) if found else []
    found = PathFinder.find_spec(module, places)
    if found is None or not found.has_location or not found.origin:
        return
    home = Path(found.origin)
    own_package = module == "plugin" and len(packages) > 1
    others = sorted(home.parent.rglob("*.py")) if own_package else []
    for path in (home, *others):
        yield path.read_text(encoding="utf-8", errors="replace")
