"""``nodelens report``: write the reports of a run again, from its folder alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import fields

from nodelens.cli.layout import echo
from nodelens.cli.runs import OUTPUT, newest
from nodelens.config.components import ComponentCheck
from nodelens.config.load import read_config
from nodelens.config.raw import Problem, RawConfig
from nodelens.config.schema import Component, RunConfig
from nodelens.errors import ConfigError, PluginError
from nodelens.interfaces.report import Report
from nodelens.storage import manifest
from nodelens.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.plugins.registry import Registry

log = logging.getLogger("nodelens")
LATEST = "latest"


@click.command()
@click.argument("run")
@click.option("--format", "formats", metavar="NAME", multiple=True, help="Write this report.")
@OUTPUT
@click.pass_obj
def report(session: Session, run: str, formats: tuple[str, ...], output: Path) -> None:
    """Write the reports of a run again and print their paths.

    RUN is the path of a run folder, or 'latest' for the newest one. Without --format the reports
    are those of the run's config; see 'nodelens reports' for all there are.
    """
    folder = newest(output) if run == LATEST else RunFolder.open(Path(run))
    registry = session.plugins().registry
    chosen = _chosen(folder, registry, formats)
    with _verified(folder):
        for component in chosen:
            for path in _writer(registry, component).write(folder):
                echo(path)


@contextmanager
def _verified(folder: RunFolder) -> Iterator[None]:
    """Report the files of a run that ended that were changed since, and renew its manifest.

    Only what is written meanwhile is entered anew, so that other changes are reported again.
    """
    if not folder.has(manifest.NAME):
        yield
        return
    known, before = folder.manifest(), manifest.build(folder.path)
    for problem in manifest.compare(known, before):
        log.warning("changed since the run ended: %s", problem)
    yield
    after = manifest.build(folder.path)
    folder.write_json(manifest.NAME, manifest.to_json(manifest.renewed(known, before, after)))


def _chosen(
    folder: RunFolder, registry: Registry, formats: tuple[str, ...]
) -> tuple[Component, ...]:
    """Return the reports to write; reports of the run's config keep their options."""
    configured = _configured(folder, registry)
    if not formats:
        return configured
    known = {component.name: component for component in configured}
    return tuple(known.get(name) or Component(name) for name in formats)


def _configured(folder: RunFolder, registry: Registry) -> tuple[Component, ...]:
    """Return the reports of the run's config, without a check of its other sections."""
    raw = read_config(folder.file("config.yaml")) if folder.has("config.yaml") else RawConfig({})
    if "reports" not in raw.value:
        return fields(RunConfig).reports.default or ()
    problems: list[Problem] = []
    found = ComponentCheck("reports", registry, problems).several(raw.value["reports"])
    if problems:
        raise ConfigError([problem.line(raw.marks) for problem in problems])
    return found


def _writer(registry: Registry, component: Component) -> Report:
    writer = registry.build("report", component)
    if not isinstance(writer, Report):
        raise PluginError(f"report {component.name!r} has no method write")
    return writer
