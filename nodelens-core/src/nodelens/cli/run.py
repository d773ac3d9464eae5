"""``nodelens run``: run a config, with progress, and print a short summary."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodelens.capture.distributed.torchrun import launched
from nodelens.cli.configured import OVERRIDES, checked_configs, permitting
from nodelens.cli.layout import echo, echo_json
from nodelens.cli.progress_line import progress_on_stderr
from nodelens.config.schema import OUTPUT
from nodelens.storage.run_folder import RECORD, find_run

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.interfaces.backend import Permissions
    from nodelens.storage.run_folder import RunFolder

WIDTH = 79


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@OVERRIDES
@permitting
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that did not finish: the path of its folder, or its id.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the records of the runs as JSON.")
@click.pass_obj
def run(
    session: Session,
    config: Path | None,
    overrides: tuple[str, ...],
    allowed: Permissions,
    resume: str | None,
    as_json: bool,
) -> int:
    """Run all stages of CONFIG, and print what was found and the files written.

    Values of the config can be changed on the command line, such as training.epochs=5. A config
    with a sweep makes one run after the other. The exit code is 1 when a metric failed.

    With --resume a run that was killed, interrupted or failed is resumed by its own config:
    finished stages are not run again.

    Under torchrun each process captures a part of the samples, and the first does all the rest:
    torchrun --nproc-per-node 4 -m nodelens run CONFIG
    """
    resumed = None if resume is None else find_run(resume, Path(OUTPUT))
    configs, plugins = checked_configs(session, _config_of(config, resumed), overrides)
    if resumed is not None and len(configs) > 1:
        raise click.UsageError("--resume resumes one run, and CONFIG sweeps; leave CONFIG out")
    from nodelens.experiments.distributed import run_all_workers

    rank, _ = launched()
    with progress_on_stderr(quiet=session.verbosity < 0 or rank > 0) as progress:
        finished = run_all_workers(configs, plugins, progress, allowed, resumed)
    if rank:
        return 0
    if as_json:
        echo_json([_record(folder) for folder in finished])
    else:
        echo("\n\n".join("\n".join(_summary(folder)) for folder in finished))
    return int(any(_failed(folder) for folder in finished))


def _config_of(config: Path | None, resumed: RunFolder | None) -> Path:
    """Return the config to use; raises `UsageError` for none, or for an override on resuming.

    A run that is resumed by another config would have results of neither.
    """
    if resumed is not None and config is not None and "=" in str(config) and not config.exists():
        raise click.UsageError(
            f"--resume uses the config that the run was started with, and {config} would change "
            f"it; leave that out, or start a new run: nodelens run {resumed.config_file()} "
            f"{config}"
        )
    if config is not None:
        return config
    if resumed is None:
        raise click.UsageError("give a CONFIG, or --resume RUN")
    return resumed.config_file()


def _record(folder: RunFolder) -> dict[str, Any]:
    return {"path": str(folder.path), **folder.read_json(RECORD)}


def _failed(folder: RunFolder) -> bool:
    return bool(folder.record().failed_metrics)


def _summary(folder: RunFolder) -> Iterator[str]:
    """Yield the headlines of every finding, then the warnings, then the paths of the files."""
    from nodelens.reports.overview import ordered_warnings

    record = folder.record()
    for finding in folder.findings():
        for sentence in finding.headline:
            yield _wrapped(f"{finding.kind} {finding.name}: {sentence}")
    for _, warning in ordered_warnings(record.warnings, folder.findings()):
        yield _wrapped(f"WARNING {warning}")
    yield ""
    yield f"{record.name}: {record.status} in {record.seconds or 0:.1f} s"
    for name in ("report.html", "summary.json"):
        if folder.has(name):
            yield f"  {folder.file(name)}"
    yield f"  {folder.path}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False)
