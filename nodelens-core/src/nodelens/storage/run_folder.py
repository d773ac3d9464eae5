"""The run folder, which holds the whole state of a run."""

from __future__ import annotations

import hashlib
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.errors import RunError, did_you_mean
from nodelens.findings.finding_json import finding_from_json, finding_to_json
from nodelens.storage import manifest, strict_json
from nodelens.storage.atomic import write_error, write_text
from nodelens.storage.names import file_name
from nodelens.storage.processes import process_alive, this_process

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding

CONFIG = "config.yaml"
"""The file that holds the run's resolved config."""

_RECORD = "run.json"
_FORMAT = 2


@frozen
class RunFolder:
    """One folder ``outputs/<name>/<run id>``; every write is atomic and raises `RunError`."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str, config: str = "") -> RunFolder:
        """Make the folder of a new run; its id is the UTC time, with ``-2``, ``-3``… when taken.

        `config` is the text of its resolved config. It is written before the record, so that
        whatever has a record can be resumed after its process was killed.
        """
        run = cls(_claim(root / file_name(name)))
        try:
            if config:
                run.write_text(CONFIG, config)
            run.write_json(_RECORD, _first_record(run.path.name, name, config))
        except RunError:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the run in a folder; raises `RunError` for no run or another format."""
        run = cls(path)
        if not (path / _RECORD).is_file():
            raise RunError(f"{path}: not a run folder (no {_RECORD}); list them: nodelens runs")
        found = run.record().get("format")
        if found != _FORMAT:
            raise RunError(
                f"{path}: run folder of format {found!r}, this version reads {_FORMAT}; "
                "run again, or use the NodeLens version that wrote it"
            )
        return run

    def file(self, relative: str) -> Path:
        """Return the path of a file of the run; raises `RunError` for one outside it."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise RunError(f"{relative!r} is not a path inside a run folder")
        return self.path / parts

    def has(self, relative: str) -> bool:
        """Return whether the run has a file."""
        return self.file(relative).is_file()

    def config_file(self) -> Path:
        """Return the path of the run's own config; raises `RunError` where the run has none."""
        if not self.has(CONFIG):
            raise RunError(f"{self.path}: has no {CONFIG}; start a new run")
        return self.file(CONFIG)

    def resolve_config(self, text: str) -> None:
        """Write the config anew, with the names of metrics in the place of patterns.

        The record knows both texts, so that a run that is killed in between can be resumed.
        """
        self.update_record(resolved_config=text_digest(text))
        self.write_text(CONFIG, text)

    def record(self) -> dict[str, Any]:
        """Return ``run.json``: the config, the status and the versions of the run."""
        record = self.read_json(_RECORD)
        if not isinstance(record, dict):
            raise RunError(f"{self.file(_RECORD)}: not the record of a run")
        return record

    def update_record(self, **fields: object) -> None:
        """Set fields of ``run.json``; other fields are kept."""
        self.write_json(_RECORD, self.record() | fields)

    def status(self) -> str:
        """Return the status; a record that still says ``running`` may be of a killed run.

        ``finished``, ``failed``, ``interrupted``, ``running``, ``killed`` (its process is gone), or
        ``running or killed`` where that cannot be known: the run was started on another machine, or
        by another version.
        """
        record = self.record()
        if record.get("status") != "running":
            return str(record.get("status"))
        if record.get("format") != _FORMAT or record.get("host") != platform.node():
            return "running or killed"
        alive = process_alive(record["pid"], record["process"])
        return "running" if alive else "killed"

    def write_json(self, relative: str, value: object) -> None:
        """Write strict JSON; raises `RunError` with the place of a NaN or of an unknown type."""
        self.write_text(relative, strict_json.to_text(value, relative))

    def read_json(self, relative: str) -> Any:
        """Return the value in a JSON file of the run; raises `RunError`."""
        return strict_json.from_text(self.read_text(relative), str(self.file(relative)))

    def write_text(self, relative: str, text: str) -> None:
        """Write a text as UTF-8."""
        write_text(self.file(relative), text)

    def read_text(self, relative: str) -> str:
        """Return a text file of the run; raises `RunError`."""
        path = self.file(relative)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise RunError(
                f"{path}: not a UTF-8 text; it was damaged after it was written"
            ) from error

    def write_finding(self, finding: Finding) -> str:
        """Write ``findings/<kind>.<name>.json``, overwrite an older one, and return the path."""
        relative = f"findings/{file_name(finding.kind)}.{file_name(finding.name)}.json"
        self.write_json(relative, finding_to_json(finding))
        known = self.record().get("findings", [])
        if relative not in known:
            self.update_record(findings=[*known, relative])
        return relative

    def findings(self) -> list[Finding]:
        """Return the findings in the order in which they were first written."""
        names = self.record().get("findings", [])
        return [finding_from_json(self.read_json(name), str(self.file(name))) for name in names]

    def write_manifest(self) -> None:
        """Write ``manifest.json`` as the last file: a check reports any later change."""
        self.write_json(manifest.NAME, manifest.build(self.path))

    def check_manifest(self) -> list[str]:
        """Return one line per file that is missing, changed or unknown; empty if none."""
        if not self.has(manifest.NAME):
            return [f"{manifest.NAME}: missing; the run has not come to its end"]
        return manifest.compare(self.path, self.read_json(manifest.NAME))


def find_run(text: str | Path, root: Path) -> RunFolder:
    """Return a run by the path of its folder, or by its id below an output folder.

    Raises `RunError` when there is no such run, or when several have that id.
    """
    path = Path(text)
    if path.is_dir():
        return RunFolder.open(path)
    found = [run for run in list_runs(root) if run.path.name == str(text)]
    if len(found) == 1:
        return RunFolder.open(found[0].path)
    if found:
        paths = ", ".join(str(run.path) for run in found)
        raise RunError(f"several runs have the id {text}: {paths}; give the path of one")
    known = [run.path.name for run in list_runs(root)]
    hint = did_you_mean(str(text), known[-20:]) or f"; there are no runs in {root}"
    raise RunError(f"there is no run {str(text)!r}: give the path of its folder, or its id{hint}")


def list_runs(root: Path) -> list[RunFolder]:
    """Return the runs below an output folder, oldest first; none if the folder does not exist."""
    runs = [RunFolder(record.parent) for record in root.glob(f"*/*/{_RECORD}")]
    return sorted(runs, key=lambda run: (*_age(run.path.name), str(run.path)))


def _age(run_id: str) -> tuple[str, int]:
    """Return a key that sorts run ids by time: ``…-10`` comes after ``…-2``."""
    date, _, rest = run_id.partition("-")
    time, _, number = rest.partition("-")
    return f"{date}-{time}", int(number) if number.isdecimal() else 1


def _claim(parent: Path) -> Path:
    """Make a folder for one run alone, also when several runs start in one second."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path, number = parent / stamp, 1
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while not _made(path):
            number += 1
            path = parent / f"{stamp}-{number}"
    except OSError as error:
        raise write_error(path, error) from error
    return path


def _made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text as UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _first_record(run_id: str, name: str, config: str) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "id": run_id,
        "name": name,
        "status": "running",
        "config": text_digest(config),
        **this_process(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": None,
        "seconds": None,
        "stages": {},
        "warnings": [],
        "error": None,
        "summary": {},
        "findings": [],
    }
