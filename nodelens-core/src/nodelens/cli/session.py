"""The global options of the command line, for every command."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import define

from nodelens.cli.layout import echo
from nodelens.plugins.manager import Plugins, load_plugins

if TYPE_CHECKING:
    from nodelens.config.schema import PluginSettings

_log = logging.getLogger(__name__)
_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}


@define
class Session:
    """The global options, filled in while the command line is read.

    Attributes:
        block: plugins that are never imported.
        strict: whether a plugin that fails is an error.
        traceback: whether errors show where they were raised.
        verbosity: how often ``-v`` was given, less how often ``-q`` was.
    """

    block: tuple[str, ...] = ()
    strict: bool = False
    traceback: bool = False
    verbosity: int = 0

    def plugins(self, settings: PluginSettings | None = None) -> Plugins:
        """Return the plugins that a config and the options allow; warn of failed plugins."""
        loaded = self.survey(settings)
        for record in loaded.records:
            if record.status == "failed":
                _log.warning("plugin %s", record.line)
        return loaded

    def survey(self, settings: PluginSettings | None = None) -> Plugins:
        """Return the allowed plugins without a warning, for commands that list failed plugins."""
        return load_plugins(settings, block=self.block, strict=self.strict)

    @property
    def log_level(self) -> int:
        """The lowest level of log records that are shown."""
        return _LEVELS.get(max(self.verbosity, -1), logging.DEBUG)


class EchoHandler(logging.Handler):
    """A log handler that writes to the present stderr; stdout is for results."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``warning: text``, and records below a warning without the word."""
        text = self.format(record)
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        echo(prefix + text, err=True)


@contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Show the log records of NodeLens on stderr, and restore logging afterwards."""
    logger = logging.getLogger("nodelens")
    handler = EchoHandler()
    before = logger.level, logger.propagate
    handler.setLevel(level)
    logger.addHandler(handler)
    logger.setLevel(
        logging.DEBUG
    )  # other handlers, such as a run's log file, choose for themselves
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
