"""``nodelens run``: everything that a config says, with progress, and a short summary."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodelens.cli.configured import ALLOW_IMPORT, CONFIG, OVERRIDES, checked_configs
from nodelens.cli.progress import progress_on_stderr
from nodelens.cli.session import Session

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder

WIDTH = 79


@click.command()
@CONFIG
@OVERRIDES
@ALLOW_IMPORT
@click.option("--json", "as_json", is_flag=True, help="Print the records of the runs as JSON.")
@click.pass_obj
def run(
    session: Session,
    config: Path,
    overrides: tuple[str, ...],
    allow_import: tuple[str, ...],
    as_json: bool,
) -> int:
    """Do everything that CONFIG says, and print what was found and where it is.

    Values of the config can be changed on the command line, such as training.epochs=5. A config
    with a sweep makes one run after the other. The exit code is 1 when a metric failed.
    """
    configs, plugins = checked_configs(session, config, overrides)
    from nodelens.experiments.run import run_experiment

    finished: list[RunFolder] = []
    with progress_on_stderr(quiet=session.verbosity < 0) as progress:
        for each in configs:
            finished.append(run_experiment(each, plugins, progress, allow_import))
    if as_json:
        click.echo(json.dumps([_record(folder) for folder in finished], indent=2))
    else:
        click.echo("\n\n".join("\n".join(_summary(folder)) for folder in finished))
    return int(any(_failed(folder) for folder in finished))


def _record(folder: RunFolder) -> dict[str, Any]:
    return {"path": str(folder.path), **folder.record()}


def _failed(folder: RunFolder) -> bool:
    return bool(folder.record().get("failed_metrics"))


def _summary(folder: RunFolder) -> Iterator[str]:
    """Yield what was found, finding by finding, then the warnings, then where everything is."""
    record = folder.record()
    for finding in folder.findings():
        for sentence in finding.headline:
            yield _wrapped(f"{finding.kind} {finding.name}: {sentence}")
    warned = [warning for finding in folder.findings() for warning in finding.warnings]
    for warning in [*record["warnings"], *warned]:
        yield _wrapped(f"WARNING {warning}")
    yield ""
    yield f"{record['name']}: {record['status']} in {record['seconds']:.1f} s"
    for name in ("report.html", "summary.json"):
        if folder.has(name):
            yield f"  {folder.file(name)}"
    yield f"  {folder.path}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False)
