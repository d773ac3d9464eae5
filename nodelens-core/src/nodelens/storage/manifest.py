"""The manifest of a run folder: every file but the log with its size and SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from attrs import frozen

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.errors import RunError
from nodelens.storage.atomic import TEMPORARY

NAME = "manifest.json"
LOG = "run.log"
LOCK = "run.lock"
_FORMAT = 1
_CHUNK = 1 << 20


@frozen
class FileDigest:
    """The size and the SHA-256 of a file."""

    bytes: int
    sha256: str


@frozen
class Manifest:
    """The digests of files by their paths."""

    files: dict[str, FileDigest]


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON values."""
    return to_stored(manifest, _FORMAT)


def from_json(value: Any, what: str) -> Manifest:
    """Return the manifest of `to_json`; raises `RunError` for other values."""
    return from_stored(Manifest, value, what, _FORMAT, "manifest")


def build(folder: Path) -> Manifest:
    """Return the digests of all files, sorted by path."""
    return Manifest({relative: describe(folder / relative) for relative in _listing(folder)})


def renewed(old: Manifest, before: Manifest, after: Manifest) -> Manifest:
    """Return the manifest of files of which some were written between `before` and `after`.

    A file that was changed earlier, and not written since, stays different from the manifest.
    """
    same = {name for name, each in after.files.items() if before.files.get(name) == each}
    written = {name: each for name, each in after.files.items() if name not in same}
    kept = {name: each for name, each in old.files.items() if name not in written}
    return Manifest(dict(sorted({**kept, **written}.items())))


def compare(known: Manifest, present: Manifest) -> list[str]:
    """Return one line per file that is missing, changed or not in the manifest."""
    found = present.files
    problems = [_difference(name, each, found.get(name)) for name, each in known.files.items()]
    added = [f"{name}: not in the manifest" for name in found if name not in known.files]
    return [problem for problem in problems if problem] + added


def _listing(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder) for path in files if not path.name.startswith(TEMPORARY))
    return sorted(name.as_posix() for name in names if name.as_posix() not in (NAME, LOG, LOCK))


def describe(path: Path) -> FileDigest:
    """Return the size and the SHA-256 of a file; raises `RunError` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return FileDigest(path.stat().st_size, digest.hexdigest())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def difference(folder: Path, relative: str, expected: FileDigest) -> str:
    """Return the difference of a file from an earlier `describe`, in one line; empty if none."""
    path = folder / relative
    return _difference(relative, expected, describe(path) if path.is_file() else None)


def _difference(name: str, expected: FileDigest, found: FileDigest | None) -> str:
    if found is None:
        return f"{name}: missing"
    if found.bytes != expected.bytes:
        return f"{name}: changed ({found.bytes} bytes, written with {expected.bytes})"
    return "" if found == expected else f"{name}: changed (same size, other content)"
