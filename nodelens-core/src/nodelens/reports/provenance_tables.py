"""Tables of the provenance of a run: versions, plugins, stages and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nodelens.config.schema import is_pattern
from nodelens.findings.finding import Table
from nodelens.reports.numbers import seconds

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts that identify a run, as names and texts; unknown facts are left out."""
    took = record.get("seconds")
    known = {
        "run": record.get("id"),
        "command": record.get("command"),
        "started": record.get("started"),
        "finished": record.get("finished"),
        "took": None if took is None else seconds(took),
        "device": record.get("device"),
        "seed": record.get("seed"),
        "git": _git(record.get("git")),
        "versions": ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items()),
    }
    return [(name, _text(value)) for name, value in known.items() if value not in (None, "")]


def tables(run: RunFolder, record: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of stages, plugins, components, patterns and groups that have rows."""
    found = (_stages(record), _plugins(record), _components(record), _left_out(record))
    for table in (*found, _groups(run)):
        if table.rows:
            yield table


def _stages(record: Mapping[str, Any]) -> Table:
    rows = [
        (stage, result.get("status"), result.get("seconds"))
        for stage, result in record.get("stages", {}).items()
    ]
    return Table("stages", "Stages", ("stage", "status", "seconds"), tuple(rows))


def _plugins(record: Mapping[str, Any]) -> Table:
    columns = ("name", "distribution", "version", "status", "reason")
    rows = [tuple(plugin.get(key) for key in columns) for plugin in record.get("plugins", ())]
    return Table("plugins", "Plugins", ("plugin", *columns[1:]), tuple(rows))


def _components(record: Mapping[str, Any]) -> Table:
    rows = [
        (kind, name, distribution)
        for kind, components in record.get("components", {}).items()
        for name, distribution in components.items()
    ]
    return Table("components", "Components", ("kind", "name", "from"), tuple(rows))


def _left_out(record: Mapping[str, Any]) -> Table:
    patterns = record.get("patterns", {})
    rows = tuple(patterns.get("left_out", {}).items())
    names = [each for each in patterns.get("asked", ()) if isinstance(each, str)]
    asked = [name for name in names if is_pattern(name)]
    title = f"Metrics that patterns left out ({', '.join(asked)})"
    return Table("left-out", title, ("metric", "why"), rows)


def _groups(run: RunFolder) -> Table:
    groups = run.read_json("channels.json")["groups"] if run.has("channels.json") else []
    rows = [
        (group["name"], group["kind"], group["width"], not group.get("frozen"), group.get("frozen"))
        for group in groups
    ]
    columns = ("group", "kind", "nodes", "prunable", "why not")
    return Table("groups", "Channel groups", columns, tuple(rows))


def _git(git: Mapping[str, Any] | None) -> str | None:
    if not git:
        return None
    return f"{git.get('commit')}{', with uncommitted changes' if git.get('dirty') else ''}"


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
