"""Tables of the provenance of a run: versions, plugins, stages and groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodelens.channels.graph_record import CHANNELS, read_groups
from nodelens.config.schema import is_pattern
from nodelens.findings.finding import Table
from nodelens.reports.numbers import seconds
from nodelens.storage.run_record import GitState, PatternRecord

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder
    from nodelens.storage.run_record import RunRecord


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return the facts that identify a run, as names and texts; unknown facts are left out."""
    known = {
        "run": record.id,
        "command": record.command,
        "started": record.started,
        "finished": record.finished,
        "took": None if record.seconds is None else seconds(record.seconds),
        "device": record.device,
        "seed": record.seed,
        "git": _git(record.git),
        "versions": ", ".join(f"{k} {v}" for k, v in record.versions.items()),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]


def tables(run: RunFolder, record: RunRecord) -> Iterator[Table]:
    """Yield the tables of stages, plugins, components, patterns and groups that have rows."""
    found = (_stages(record), _plugins(record), _components(record), _left_out(record))
    for table in (*found, _groups(run)):
        if table.rows:
            yield table


def _stages(record: RunRecord) -> Table:
    rows = [(name, stage.status, stage.seconds) for name, stage in record.stages.items()]
    return Table("stages", "Stages", ("stage", "status", "seconds"), tuple(rows))


def _plugins(record: RunRecord) -> Table:
    columns = ("name", "distribution", "version", "status", "reason")
    rows = [tuple(getattr(plugin, key) for key in columns) for plugin in record.plugins]
    return Table("plugins", "Plugins", ("plugin", *columns[1:]), tuple(rows))


def _components(record: RunRecord) -> Table:
    rows = [
        (kind, name, distribution)
        for kind, components in record.components.items()
        for name, distribution in components.items()
    ]
    return Table("components", "Components", ("kind", "name", "from"), tuple(rows))


def _left_out(record: RunRecord) -> Table:
    patterns = record.patterns or PatternRecord((), (), {})
    rows = tuple(patterns.left_out.items())
    asked = [each for each in patterns.asked if isinstance(each, str) and is_pattern(each)]
    title = f"Metrics that patterns left out ({', '.join(asked)})"
    return Table("left-out", title, ("metric", "why"), rows)


def _groups(run: RunFolder) -> Table:
    groups = read_groups(run) if run.has(CHANNELS) else ()
    rows = [(each.name, each.kind, each.width, each.prunable, each.frozen) for each in groups]
    columns = ("group", "kind", "nodes", "prunable", "why not")
    return Table("groups", "Channel groups", columns, tuple(rows))


def _git(git: GitState | None) -> str | None:
    if git is None:
        return None
    return f"{git.commit}{', with uncommitted changes' if git.dirty else ''}"
