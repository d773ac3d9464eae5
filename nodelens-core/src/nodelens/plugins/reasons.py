"""An exception of plugin code as one line: no traceback, but the place."""

from __future__ import annotations

from types import TracebackType

from nodelens.errors import NodelensError

LONGEST = 300


def reason(error: BaseException) -> str:
    """Return the reason of an error in one line, with the file and line number that raised it."""
    text = " ".join(_sentence(error).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _sentence(error: BaseException) -> str:
    if isinstance(error, NodelensError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"needs the module {error.name!r}, which is not installed"
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{named} ({error.filename}, line {error.lineno})"
    return named + _place(error.__traceback__)


def _place(traceback: TracebackType | None) -> str:
    """Return `` (file, line n)`` of the innermost frame; nothing if the import machinery raised."""
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = traceback.tb_frame.f_code.co_filename
    if "importlib" in file:
        return ""
    return f" ({file.replace(chr(92), '/').rpartition('/')[2]}, line {traceback.tb_lineno})"
