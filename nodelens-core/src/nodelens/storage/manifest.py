"""The manifest of a run folder: every file but the log with its size and SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from nodelens.errors import RunError
from nodelens.storage.atomic import TEMPORARY

NAME = "manifest.json"
LOG = "run.log"
_CHUNK = 1 << 20


def build(folder: Path) -> dict[str, Any]:
    """Return ``{"format": 1, "files": {relative path: {"bytes", "sha256"}}}``, sorted by path."""
    files = {relative: describe(folder / relative) for relative in _listing(folder)}
    return {"format": 1, "files": files}


def compare(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return one line per file that is missing, changed or not in the manifest."""
    known, present = manifest["files"], set(_listing(folder))
    problems = [difference(folder, relative, known[relative]) for relative in sorted(known)]
    added = [f"{relative}: not in the manifest" for relative in sorted(present - set(known))]
    return [problem for problem in problems if problem] + added


def _listing(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder) for path in files if not path.name.startswith(TEMPORARY))
    return sorted(name.as_posix() for name in names if name.as_posix() not in (NAME, LOG))


def describe(path: Path) -> dict[str, Any]:
    """Return the size and the SHA-256 of a file; raises `RunError` when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def difference(folder: Path, relative: str, expected: dict[str, Any]) -> str:
    """Return the difference of a file from an earlier `describe`, in one line; empty if none."""
    path = folder / relative
    if not path.is_file():
        return f"{relative}: missing"
    found = describe(path)
    if found["bytes"] != expected["bytes"]:
        return f"{relative}: changed ({found['bytes']} bytes, written with {expected['bytes']})"
    if found["sha256"] != expected["sha256"]:
        return f"{relative}: changed (same size, other content)"
    return ""
