"""The program ``nodelens``: global options, errors and exit codes."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from nodelens.cli.layout import echo
from nodelens.cli.lazy import LazyGroup
from nodelens.cli.session import Session, logging_to_stderr
from nodelens.errors import ConfigError, NodelensError, TerminationError

PROGRAM = "nodelens"
FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
MOST_ERRORS = 50

WELCOME = """\
NodeLens {version}: which nodes of a neural network matter, and how do you know?

Start here:
  nodelens config check CONFIG.yaml    find every mistake in a config
  nodelens plan CONFIG.yaml            see what a run would do
  nodelens run CONFIG.yaml             train, score, ablate, prune, report
  nodelens runs                        find the run again

Look around:
  nodelens metrics                     what nodes can be scored with
  nodelens metrics NAME                what one metric is and needs
  nodelens plugins                     what is installed
  nodelens --help                      everything else

A smallest config:
  model: mlp
  data: digits
  metrics: [NAME, NAME]"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    0: done. 1: the work failed. 2: a mistake of the user, reported on stderr as ``error: …``.
    130: interrupted.
    """
    _accept_any_terminal()
    session = Session()
    try:
        code = cli.main(args, PROGRAM, standalone_mode=False, obj=session)
    except click.Abort:
        echo("interrupted", err=True)
        return INTERRUPTED
    except (click.ClickException, NodelensError, TerminationError) as error:
        _trace(session, error)
        _tell(error)
        return error.exit_code if isinstance(error, click.ClickException) else MISTAKE
    except Exception as error:  # noqa: BLE001 - the top of the program
        _trace(session, error)
        echo(_report_request(error, session), err=True)
        return FAILED
    return code if type(code) is int else 0


def _accept_any_terminal() -> None:
    """Write characters that the terminal does not have as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _trace(session: Session, error: BaseException) -> None:
    if session.traceback:
        echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _tell(error: click.ClickException | NodelensError | TerminationError) -> None:
    if isinstance(error, click.ClickException):
        lines = [error.format_message()]
    elif isinstance(error, ConfigError):
        lines = list(error.problems)
    else:
        lines = [str(error)]
    if len(lines) > MOST_ERRORS:
        lines[MOST_ERRORS:] = [f"and {len(lines) - MOST_ERRORS} more"]
    for line in lines:
        echo(line, err=True, head=click.style("error: ", fg="red"))
    if isinstance(error, click.UsageError) and error.ctx is not None:
        echo(f"help: {_help(error, error.ctx)}", err=True)


def _help(error: click.UsageError, ctx: click.Context) -> str:
    """Return the help command, or the right place of an option given after the command."""
    option = error.option_name if isinstance(error, click.NoSuchOption) else ""
    if ctx.parent is not None and any(option in parameter.opts for parameter in cli.params):
        return f"{option} is an option of {PROGRAM}: give it before the command"
    return f"{ctx.command_path} --help"


def _report_request(error: Exception, session: Session) -> str:
    advice = "" if session.traceback else f"run `{PROGRAM} --traceback …` to see where, and "
    return (
        f"error: {type(error).__name__}: {error}\n"
        f"This is a mistake in NodeLens or in a plugin, not yours. Please {advice}"
        "report it with the command that you gave and the output of `nodelens plugins`."
    )


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from nodelens.version import installed_version

        echo(f"{PROGRAM} {installed_version()}")
        ctx.exit()


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a global option in the session, before ``--help`` asks plugins for their commands."""
    session = ctx.ensure_object(Session)
    setattr(session, str(parameter.name), value)


@click.group(
    PROGRAM,
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.option(
    "--no-plugin",
    "block",
    metavar="PLUGIN",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Leave out DISTRIBUTION[:ENTRY][VERSIONS]; may be given several times.",
)
@click.option(
    "--strict-plugins",
    "strict",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Make a plugin that fails to load an error.",
)
@click.option(
    "--traceback",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Show where an error was raised.",
)
@click.option("-v", "--verbose", count=True, help="Say more; twice, say everything.")
@click.option("-q", "--quiet", count=True, help="Say less: errors only.")
@click.pass_context
def cli(ctx: click.Context, verbose: int, quiet: int) -> None:
    """Which nodes of a neural network matter, and how do you know?"""
    session = ctx.ensure_object(Session)
    session.verbosity = verbose - quiet
    ctx.with_resource(logging_to_stderr(session.log_level))
    if ctx.invoked_subcommand is None:
        from nodelens.version import installed_version

        echo(WELCOME.format(version=installed_version()))


if __name__ == "__main__":
    sys.exit(main())
