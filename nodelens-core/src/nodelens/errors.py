"""The errors that a user can meet; messages say what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodelens.printable import printable


class NodelensError(Exception):
    """A problem that the user can solve: printed without a traceback, exit code 2."""

    def __str__(self) -> str:
        """Return the message; names in it may come from anywhere, so that it is printable."""
        return printable(super().__str__())


class ConfigError(NodelensError):
    """One or several mistakes in a config, reported together.

    `problems` holds one finished line per mistake: ``file:line: path: what; what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(printable(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


class PluginError(NodelensError):
    """A plugin that is missing, blocked, broken or ambiguous where it is needed."""


class UnknownNameError(NodelensError):
    """A component name that no loaded plugin offers."""


class DataError(NodelensError):
    """Data that cannot be read or used as requested."""


class ModelError(NodelensError):
    """A model that cannot be built, loaded, traced or run as requested."""


class CaptureError(NodelensError):
    """A capture that would give wrong statistics: a silent site, a non-finite value."""


class NotFiniteError(CaptureError):
    """An activation, a gradient or a loss that is NaN or infinite."""


class RunError(NodelensError):
    """A run folder that cannot be read or written."""


class FormatError(RunError):
    """A file of a format that this version does not read."""


class TerminationError(BaseException):
    """A run that was told to end; no `Exception`, so that code which catches these lets it pass."""


ENDINGS = (KeyboardInterrupt, TerminationError)
"""What ends a run from outside: never a fault of the code that was running."""


class NotApplicableError(Exception):
    """A group that a metric is not defined on; reports show the reason."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, else the list of known names."""
    from difflib import get_close_matches

    names = sorted(set(known))
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def with_article(noun: str) -> str:
    """Return a noun with ``a`` or ``an`` in front."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
