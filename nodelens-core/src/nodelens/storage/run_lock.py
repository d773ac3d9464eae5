"""The lock of a run folder: one process at a time writes it."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.errors import RunError
from nodelens.storage import strict_json
from nodelens.storage.atomic import TEMPORARY, write_error
from nodelens.storage.manifest import LOCK
from nodelens.storage.processes import Owner, this_process

_FORMAT = 1
_UNWRITTEN = 10.0
"""Seconds after which a lock without an owner is of a process that died before writing one."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``run.lock``, which names this process, while the context is open.

    The lock of a process that is gone is taken over. Raises `RunError` where another process has
    it, or one of another machine, of which nothing can be known.
    """
    path = folder / LOCK
    own = strict_json.to_text(to_stored(this_process(), _FORMAT), LOCK)
    while not _created(path, own):
        _remove_stale(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _created(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise write_error(path, error) from error
    return True


def _remove_stale(path: Path) -> None:
    """Remove the lock of a process that is gone; raises `RunError` for one that may be alive."""
    try:
        text, age = path.read_text(encoding="utf-8"), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error}); remove it if no run goes on") from error
    if text or age < _UNWRITTEN:
        _check_gone(path, text)
    aside = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        path.rename(aside)
        if aside.read_text(encoding="utf-8") != text:  # another process was faster: give it back
            os.link(aside, path)
        aside.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(path, error) from error


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
