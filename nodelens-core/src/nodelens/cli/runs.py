"""``nodelens runs``: the runs in an output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nodelens.cli.layout import columns, echo, echo_json
from nodelens.errors import FormatError, RunError
from nodelens.storage.run_folder import RunFolder, list_runs

OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("outputs"),
    show_default=True,
    help="The folder that holds all runs.",
)
KEYS = ("id", "name", "status", "started", "finished", "seconds", "error")


@click.command()
@OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(output: Path, as_json: bool) -> None:
    """List the runs in an output folder, the newest last."""
    entries = [_entry(run) for run in list_runs(output)]
    if as_json:
        echo_json(entries)
    elif entries:
        rows = [_row(entry) for entry in entries]
        echo(columns([("RUN", "STARTED", "TIME", "STATUS"), *rows]))
    else:
        echo(f"no runs in {output}; start one with: nodelens run CONFIG.yaml", err=True)


def newest(output: Path) -> RunFolder:
    """Return the newest run; raises `RunError` if there is none of the present format."""
    found = list_runs(output)
    if not found:
        raise RunError(f"no runs in {output}; name the folder with --output, or give a run's path")
    return RunFolder.open(found[-1].path)


def _entry(run: RunFolder) -> dict[str, Any]:
    """Return the entry of one run as JSON values; a damaged run hides no other."""
    try:
        record, status = run.record(), run.status()
    except RunError as error:
        status = "other format" if isinstance(error, FormatError) else "damaged"
        return {"path": str(run.path), "status": status, "error": str(error)}
    known = {key: getattr(record, key) for key in KEYS}
    return {"path": str(run.path), **known, "status": status}


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    started = str(entry.get("started") or "").replace("T", " ")[:16]
    error = f": {entry['error']}" if entry.get("error") else ""
    return entry["path"], started, _duration(entry.get("seconds")), f"{entry['status']}{error}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
