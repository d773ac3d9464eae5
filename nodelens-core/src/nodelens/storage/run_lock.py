"""The lock of a run folder: one process at a time writes it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.errors import RunError
from nodelens.storage import strict_json
from nodelens.storage.atomic import write_error
from nodelens.storage.manifest import LOCK
from nodelens.storage.processes import Owner, this_process

_FORMAT = 1


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``run.lock``, which names this process, while the context is open.

    The lock of a process that is gone is taken over. Raises `RunError` where another process has
    it, or one of another machine, of which nothing can be known.
    """
    path = folder / LOCK
    own = strict_json.to_text(to_stored(this_process(), _FORMAT), LOCK)
    with _alone(folder):
        _check_free(path)
        try:
            path.write_text(own, encoding="utf-8")
        except OSError as error:
            raise write_error(path, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from looking at the lock of a folder; the system frees it at death."""
    digest = sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    guard = Path(gettempdir()) / f"nodelens-{digest}.lock"
    try:
        with FileLock(guard, mode=0o666):
            yield
    except PermissionError as error:
        raise write_error(guard, error) from error


def _check_free(path: Path) -> None:
    """Raise `RunError` where a process holds a lock that may be alive."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error}); remove it if no run goes on") from error
    if text:  # a process that died before it wrote its name holds nothing
        _check_gone(path, text)


def _check_gone(path: Path, text: str) -> None:
    try:
        values = strict_json.from_text(text, str(path))
        owner = from_stored(Owner, values, str(path), _FORMAT, "lock")
    except RunError as error:
        raise RunError(
            f"{path}: names no process; remove it if no other process goes on with the run"
        ) from error
    if owner.host != platform.node():
        raise RunError(
            f"{path}: the run is that of process {owner.pid} on {owner.host}, of which nothing can "
            "be known here; make sure that it has ended, then remove this file"
        )
    if owner.alive():
        raise RunError(
            f"{path.parent}: the run is still going on, in process {owner.pid}; wait for it, or "
            "stop it first"
        )
