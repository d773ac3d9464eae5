"""The program: where to start, global options, errors and exit codes."""

from __future__ import annotations

import logging

import click
import pytest

from nodelens.cli import main as program
from nodelens.cli.commands import CORE_COMMANDS
from nodelens.cli.session import Session, logging_to_stderr
from nodelens.errors import ConfigError, DataError

COMMANDS = """
import click
from nodelens.errors import DataError

@hookimpl
def nodelens_register_commands():
    return [CommandSpec("greet", "acme:greet", "Say hello.")]

@click.command()
@click.argument("name")
def greet(name):
    if name == "fail":
        raise click.exceptions.Exit(1)
    click.echo(f"hello {name}")
"""


@pytest.fixture
def raising(monkeypatch):
    """Make ``nodelens runs`` raise an exception."""

    def arrange(error: BaseException) -> None:
        @click.command()
        def runs():
            raise error

        monkeypatch.setattr("nodelens.cli.runs.runs", runs)

    return arrange


def test_bare_nodelens_says_where_to_start(nodelens):
    outcome = nodelens()
    assert outcome.code == 0
    assert "Start here:" in outcome.out
    assert len(outcome.out.splitlines()) <= 20
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_help_lists_every_command_in_eighty_columns(nodelens):
    outcome = nodelens("--help")
    assert outcome.code == 0
    shown = [line.split()[0] for line in outcome.out.splitlines() if line.startswith("  ")]
    assert set(CORE_COMMANDS) <= set(shown)
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_short_help_of_a_command_agrees_with_its_own(nodelens):
    for name in CORE_COMMANDS:
        outcome = nodelens(name, "--help")
        assert outcome.code == 0
        assert outcome.out.startswith(f"Usage: nodelens {name} ")


def test_version_does_not_ask_plugins(nodelens, distribution):
    distribution("acme", "raise SystemExit(7)")
    outcome = nodelens("--strict-plugins", "--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("nodelens ")


def test_help_survives_broken_plugins_and_strictness(nodelens, distribution):
    distribution("acme", "raise RuntimeError('no luck')")
    assert nodelens("--help").code == 0
    strict = nodelens("--strict-plugins", "--help")
    assert strict.code == 0
    assert "Commands of plugins are not listed: plugin acme:main 1.0 failed" in " ".join(
        strict.out.split()
    )


def test_a_plugins_command_is_listed_and_runs(nodelens, distribution):
    distribution("acme", COMMANDS)
    assert "From plugins:\n  greet  Say hello." in nodelens("--help").out
    assert nodelens("-q", "greet", "you").out == "hello you\n"
    assert nodelens("-q", "greet", "fail").code == 1


def test_a_blocked_plugins_command_is_not_listed(nodelens, distribution):
    distribution("acme", COMMANDS)
    assert "greet" not in nodelens("--no-plugin", "acme", "--help").out
    outcome = nodelens("--no-plugin", "acme", "greet", "you")
    assert outcome.code == 2
    assert "there is no command 'greet'" in outcome.err
    way_out = "acme:main (blocked by --no-plugin; leave that --no-plugin out)"
    assert f"; offered by what is not loaded: {way_out}" in outcome.err


def test_a_plugin_cannot_take_over_a_command_of_the_core(nodelens, distribution):
    distribution("acme", COMMANDS.replace('"greet",', '"runs",'))
    assert "From plugins:\n  acme:runs  Say hello." in nodelens("--help").out
    assert nodelens("-q", "acme:runs", "you").out == "hello you\n"
    assert nodelens("-q", "runs", "--json").out == "[]\n"


def test_two_plugins_with_one_command(nodelens, distribution):
    distribution("acme", COMMANDS)
    distribution("beta", COMMANDS.replace("acme:greet", "beta:greet"))
    help_text = nodelens("--help").out
    assert "acme:greet" in help_text
    assert "beta:greet" in help_text
    outcome = nodelens("greet", "you")
    assert outcome.code == 2
    assert outcome.err.startswith("error: command 'greet' is offered by acme 1.0, beta 1.0; ")
    assert nodelens("-q", "beta:greet", "you").out == "hello you\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("acme_cli:greet", "needs the module 'acme_cli', which is not installed"),
        ("acme:hookimpl", "acme:hookimpl is no click command"),
    ],
)
def test_a_command_that_cannot_be_imported_is_an_error_when_used(
    nodelens, distribution, target, message
):
    distribution("acme", COMMANDS.replace("acme:greet", target))
    assert nodelens("--help").code == 0
    outcome = nodelens("greet", "you")
    assert outcome.code == 2
    assert outcome.err.startswith("error: command 'greet' of acme 1.0")
    assert message in outcome.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rnu"], "error: there is no command 'rnu'; did you mean 'run'?"),
        (["--no-plugin", "acne", "plugins"], "error: cannot leave out 'acne': plugin acne is"),
        (["--no-plugin", "nodelens-core", "plugins"], "error: nodelens-core is the program itself"),
        (["config", "check"], "error: Missing argument 'CONFIG'.\nhelp: nodelens config check --h"),
        (["runs", "-v"], "help: -v is an option of nodelens: give it before the command"),
        (["runs", "--jason"], "help: nodelens runs --help"),
    ],
)
def test_mistakes_of_the_user_exit_with_2(nodelens, args, message):
    outcome = nodelens(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_an_error_of_nodelens_is_one_line_and_no_traceback(nodelens, raising):
    raising(DataError("no data there"))
    outcome = nodelens("runs")
    assert (outcome.code, outcome.err) == (2, "error: no data there\n")


def test_every_problem_of_a_config_has_its_line(nodelens, raising):
    raising(ConfigError(["a.yaml:1: first", "a.yaml:2: second"]))
    assert nodelens("runs").err == "error: a.yaml:1: first\nerror: a.yaml:2: second\n"


def test_an_unexpected_exception_asks_for_a_report(nodelens, raising):
    raising(ZeroDivisionError("by zero"))
    outcome = nodelens("runs")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ZeroDivisionError: by zero\nThis is a mistake in Node")
    assert "Traceback" not in outcome.err
    assert "nodelens --traceback" in outcome.err


def test_traceback_shows_where(nodelens, raising):
    raising(ZeroDivisionError("by zero"))
    outcome = nodelens("--traceback", "runs")
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert "nodelens --traceback" not in outcome.err


def test_an_interrupt_exits_with_130(nodelens, raising):
    raising(KeyboardInterrupt())
    outcome = nodelens("runs")
    assert outcome.code == 130
    assert outcome.err.strip() == "interrupted"


@pytest.mark.parametrize(
    ("options", "level"),
    [
        (["-q"], logging.ERROR),
        ([], logging.WARNING),
        (["-v"], logging.INFO),
        (["-vv"], logging.DEBUG),
        (["-vq"], logging.WARNING),
    ],
)
def test_verbosity_sets_what_is_shown(options, level):
    verbosity = sum({"v": 1, "q": -1}[letter] for option in options for letter in option[1:])
    assert Session(verbosity=verbosity).log_level == level


def test_logging_goes_to_stderr_and_is_put_back(capsys):
    logger = logging.getLogger("nodelens")
    before = logger.handlers[:], logger.level, logger.propagate
    with logging_to_stderr(logging.INFO):
        logging.getLogger("nodelens.any").info("for you")
        logging.getLogger("nodelens.any").debug("not for you")
        logging.getLogger("nodelens.any").warning("careful")
    assert capsys.readouterr() == ("", "for you\nwarning: careful\n")
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_failed_plugins_are_warned_of_unless_quiet(nodelens, distribution):
    distribution("acme", "raise RuntimeError('no luck')")
    warning = "warning: plugin acme:main 1.0 failed: RuntimeError: no luck (acme.py, line 3)"
    assert warning in nodelens("backends").err
    assert nodelens("-q", "backends").err == ""


def test_a_shell_can_complete_commands(distribution):
    from click.shell_completion import ShellComplete

    distribution("acme", COMMANDS.replace("acme:greet", "acme_cli:greet"))
    complete = ShellComplete(program.cli, {}, "nodelens", "_NODELENS_COMPLETE")
    assert [item.value for item in complete.get_completions([], "met")] == ["metrics"]
