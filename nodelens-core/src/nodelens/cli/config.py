"""``nodelens config``: check a config, show what it means, or describe all configs to an editor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nodelens.cli.layout import echo_json
from nodelens.cli.session import Session
from nodelens.config.check import check_config, plugin_settings
from nodelens.config.load import read_config
from nodelens.config.schema import RunConfig
from nodelens.config.sweep import expand
from nodelens.errors import ConfigError

_FILE = click.argument("file", type=click.Path(path_type=Path))
_OVERRIDES = click.argument("overrides", metavar="[KEY.PATH=VALUE]...", nargs=-1)


@click.group(invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Check or show a config, or describe configs to an editor."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@config.command()
@_FILE
@_OVERRIDES
@click.pass_obj
def check(session: Session, file: Path, overrides: tuple[str, ...]) -> None:
    """Report every mistake in a config; nothing is run."""
    runs = resolved_runs(session, file, overrides)
    click.echo(f"{file}: no mistakes; {_what(runs)}")


@config.command()
@_FILE
@_OVERRIDES
@click.pass_obj
def show(session: Session, file: Path, overrides: tuple[str, ...]) -> None:
    """Print a config as it would be run: inherited, overridden, with all defaults."""
    from nodelens.config.dump import to_yaml

    runs = resolved_runs(session, file, overrides)
    click.echo("---\n".join(to_yaml(run) for run in runs), nl=False)


@config.command()
@click.pass_obj
def schema(session: Session) -> None:
    """Print the JSON Schema of configs, with everything that the plugins offer."""
    from nodelens.config.schema_json import json_schema

    echo_json(json_schema(session.plugins().registry))


def resolved_runs(session: Session, file: Path, overrides: Sequence[str]) -> list[RunConfig]:
    """Return the runs that a config stands for; raises `ConfigError` with every mistake of all."""
    raw = read_config(file, overrides)
    registry = session.plugins(plugin_settings(raw)).registry
    runs: list[RunConfig] = []
    problems: list[str] = []
    for each in expand(raw):
        try:
            runs.append(check_config(each, registry))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return runs


def _what(runs: Sequence[RunConfig]) -> str:
    first = runs[0]
    counted = {
        "metric": len(first.metrics),
        "intervention": len(first.interventions),
        "pruning method": len(first.pruning),
    }
    parts = [f"{count} {word}{'s' * (count != 1)}" for word, count in counted.items()]
    head = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    return f"{head} of {first.model.name} on {first.data.component.name}, {', '.join(parts)}"
