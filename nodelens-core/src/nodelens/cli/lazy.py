"""A command group with commands of plugins, each imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from nodelens.cli.commands import CORE_COMMANDS, SECTIONS
from nodelens.cli.session import Session
from nodelens.errors import NodelensError, PluginError, did_you_mean

if TYPE_CHECKING:
    from nodelens.plugins.registry import Offer, Registry


class LazyGroup(click.Group):
    """The core's commands by table, plugins' commands by registry.

    A plugin cannot replace a command of the core: a plugin's command of that name is there as
    ``distribution:name``. So it is where two plugins offer one name.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands; plugins that cannot be read add none."""
        try:
            offers = _registry(ctx).match("command")
        except NodelensError:
            offers = []
        return [*CORE_COMMANDS, *_shown(offers)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported on the call; raises `PluginError` if the import fails.

        While a shell completes a line, nothing is raised.
        """
        try:
            return self._imported(ctx, cmd_name)
        except NodelensError:
            if ctx.resilient_parsing:
                return None
            raise

    def _imported(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in CORE_COMMANDS:
            module, _, attribute = CORE_COMMANDS[cmd_name][0].partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        registry = _registry(ctx)
        if not registry.match("command", cmd_name):
            return None
        offer = registry.offer("command", cmd_name)
        return checked_command(registry.load(offer), offer)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return name, command and remaining arguments; an unknown name gets the closest known."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(_unknown(args[0], _registry(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of all commands, section by section, without importing them."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])
        try:
            plugins = _session(ctx).survey()
        except NodelensError as error:
            formatter.write_paragraph()
            formatter.write_text(f"Commands of plugins are not listed: {error}")
            return
        offers = _shown(plugins.registry.match("command"))
        if offers:
            with formatter.section("From plugins"):
                formatter.write_dl([(name, offer.spec.summary) for name, offer in offers.items()])


def checked_command(target: object, offer: Offer) -> click.Command:
    """Return a plugin's command; raises `PluginError` unless the target is a click command."""
    if not isinstance(target, click.Command):
        raise PluginError(
            f"command {offer.name!r} of {offer.provider}: {offer.spec.target} is no click command"
        )
    return target


def _session(ctx: click.Context) -> Session:
    return ctx.ensure_object(Session)


def _registry(ctx: click.Context) -> Registry:
    return _session(ctx).survey().registry


def _shown(offers: list[Offer]) -> dict[str, Offer]:
    """Return the offers of commands under the names that call them."""
    names = [*CORE_COMMANDS, *(offer.name for offer in offers)]
    return {
        offer.name if names.count(offer.name) == 1 else offer.qualified: offer for offer in offers
    }


def _unknown(name: str, registry: Registry) -> str:
    known = [*CORE_COMMANDS, *_shown(registry.match("command"))]
    text = f"there is no command {name!r}{did_you_mean(name, known)}"
    return text + registry.unloaded("command", name)
