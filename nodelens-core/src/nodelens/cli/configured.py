"""What ``run`` and ``plan`` share: from a config file to checked configs and loaded plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodelens.cli.session import Session
from nodelens.config.check import check_config, plugin_settings
from nodelens.config.load import read_config
from nodelens.config.sweep import expand
from nodelens.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.plugins.manager import Plugins

CONFIG = click.argument("config", type=click.Path(path_type=Path))
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
ALLOW_IMPORT = click.option(
    "--allow-import",
    metavar="PREFIX",
    multiple=True,
    help="Allow configs to name models as module:function below this module prefix.",
)


def checked_configs(
    session: Session, path: Path, overrides: tuple[str, ...]
) -> tuple[list[RunConfig], Plugins]:
    """Return every run of a config, checked, and the plugins that it selects.

    Raises `ConfigError` with the mistakes of all runs, each once.
    """
    raw = read_config(path, overrides)
    problems: dict[str, None] = {}
    try:
        plugins = session.plugins(plugin_settings(raw))
    except (ConfigError, PluginError) as error:
        problems.update(dict.fromkeys(getattr(error, "problems", [f"plugins: {error}"])))
        plugins = session.survey()
    runs: list[RunConfig] = []
    for point in expand(raw):
        try:
            runs.append(check_config(point, plugins.registry))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(list(problems))
    return runs, plugins
