"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from nodelens.errors import RunError

TEMPORARY = ".tmp-"
"""The prefix of the name of an unfinished file."""

_CHOOSE = "choose another folder with output=FOLDER"
_REASONS = {
    errno.ENOSPC: ("no space left on the disk", f"free some space or {_CHOOSE}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space or {_CHOOSE}"),
    errno.EROFS: ("the disk is read-only", _CHOOSE),
    errno.EACCES: ("no permission to write there", f"change the permissions or {_CHOOSE}"),
    errno.EPERM: ("no permission to write there", f"change the permissions or {_CHOOSE}"),
    errno.ENOTDIR: ("a file stands where a folder should be", f"move that file or {_CHOOSE}"),
    errno.EEXIST: ("a file stands where a folder should be", f"move that file or {_CHOOSE}"),
    errno.EISDIR: ("a folder stands where a file should be", f"move that folder or {_CHOOSE}"),
    errno.ENAMETOOLONG: ("the file name is too long", "choose shorter names"),
}


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers get the old content or the new, never a part.

    Missing folders are made. Raises `RunError` (path, reason, what to do) when the disk is full or
    read-only or a file is in the way; then no temporary file is left and an old file is untouched.
    """
    write_chunks(path, (data,))


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file atomically from parts that need not be in memory together.

    Errors of `chunks` leave an old file untouched as well; see `write_bytes`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_replace(path, chunks)
    except OSError as error:
        raise write_error(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with unchanged line ends; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_error(path: Path, error: OSError) -> RunError:
    """Return the `RunError` of a failed write, with the path, the reason and a way out."""
    plain = (error.strerror or str(error), _CHOOSE)
    reason, advice = _REASONS.get(error.errno or 0, plain)
    return RunError(f"cannot write {path}: {reason}; {advice}")


def remove_unfinished(folder: Path) -> list[Path]:
    """Delete and return the unfinished files that a killed process left below a folder."""
    found = [path for path in folder.rglob(f"{TEMPORARY}*") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _write_and_replace(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (tests make exactly this call fail)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
