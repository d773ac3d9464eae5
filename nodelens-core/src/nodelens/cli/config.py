"""``nodelens config``: check a config, show it resolved, or print the JSON Schema of configs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodelens.cli.configured import CONFIG, OVERRIDES, checked_configs
from nodelens.cli.layout import echo, echo_json, wrapped
from nodelens.config.patterns import expand

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.config.schema import RunConfig
    from nodelens.plugins.registry import Registry


@click.group(invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Check or show a config, or describe configs to an editor."""
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


@config.command(short_help="Report every mistake in a config.")
@CONFIG
@OVERRIDES
@click.pass_obj
def check(session: Session, config: Path, overrides: tuple[str, ...]) -> None:
    """Report every mistake in CONFIG; nothing is run."""
    runs, plugins = checked_configs(session, config, overrides)
    echo(wrapped(f"{config}: no mistakes; {_what(runs, plugins.registry)}", 0))


@config.command(short_help="Print a config as it would be run.")
@CONFIG
@OVERRIDES
@click.pass_obj
def show(session: Session, config: Path, overrides: tuple[str, ...]) -> None:
    """Print CONFIG as it would be run: inherited, overridden, with all defaults.

    A config with a sweep is printed as one document per run.
    """
    from nodelens.config.dump import to_yaml

    runs, _ = checked_configs(session, config, overrides)
    echo("---\n".join(to_yaml(run) for run in runs), nl=False)


@config.command(short_help="Print the JSON Schema of configs.")
@click.pass_obj
def schema(session: Session) -> None:
    """Print the JSON Schema of configs, with everything that the plugins offer."""
    from nodelens.config.schema_json import json_schema

    echo_json(json_schema(session.plugins().registry))


def _what(runs: Sequence[RunConfig], registry: Registry) -> str:
    """Return a summary of the checked runs of a config, in one line."""
    first = runs[0]
    metrics = expand(first.metrics, registry).components
    counted = {
        "run": len(runs),
        "metric": len(metrics),
        "evaluation": len(first.evaluations),
        "intervention": len(first.interventions),
        "pruning method": len(first.pruning),
    }
    parts = [f"{count} {word}{'s' * (count != 1)}" for word, count in counted.items()]
    if metrics != first.metrics:
        parts[1] = f"up to {parts[1]}"
    return f"{first.model.name} on {first.data.component.name}, {', '.join(parts)}"
