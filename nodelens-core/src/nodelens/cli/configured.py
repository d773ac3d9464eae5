"""Checked configs and loaded plugins from a config file, for the commands ``run`` and ``plan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodelens.config.check import check_config, plugin_settings
from nodelens.config.load import read_config
from nodelens.config.sweep import expand
from nodelens.errors import ConfigError, PluginError
from nodelens.interfaces.backend import Permissions

if TYPE_CHECKING:
    from nodelens.cli.session import Session
    from nodelens.config.schema import RunConfig
    from nodelens.plugins.manager import Plugins

CONFIG = click.argument("config", type=click.Path(path_type=Path))
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
_ALLOW_IMPORT = click.option(
    "--allow-import",
    metavar="PREFIX",
    multiple=True,
    help="Allow configs to name models as module:function below this module prefix.",
)
_TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run the Python code that a model's folder or hub id brings; no config can allow that.",
)


def permitting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add both options that allow foreign code to a command, as one argument `allowed`."""

    @_ALLOW_IMPORT
    @_TRUST_REMOTE_CODE
    @wraps(command)
    def permitted(
        *args: Any,
        allow_import: tuple[str, ...],
        trust_remote_code: bool,
        **kwargs: Any,
    ) -> Any:
        return command(*args, allowed=Permissions(allow_import, trust_remote_code), **kwargs)

    return permitted


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
