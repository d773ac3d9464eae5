"""The run folder, which holds the whole state of a run."""

from __future__ import annotations

import hashlib
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

from nodelens.config.stored_values import from_stored, to_stored
from nodelens.errors import RunError, did_you_mean
from nodelens.findings.finding_json import finding_from_json, finding_to_json
from nodelens.storage import manifest, strict_json
from nodelens.storage.atomic import write_error, write_text
from nodelens.storage.names import file_name
from nodelens.storage.processes import Owner, this_process
from nodelens.storage.run_record import FORMAT, RunRecord

if TYPE_CHECKING:
    from nodelens.findings.finding import Finding

CONFIG = "config.yaml"
"""The file that holds the run's resolved config."""

RECORD = "run.json"
"""The file that holds the run's record."""


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
            run.write_record(_first_record(run.path.name, name, config))
        except RunError:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return the run in a folder; raises `RunError` for no run or another format."""
        run = cls(path)
        if not (path / RECORD).is_file():
            raise RunError(f"{path}: not a run folder (no {RECORD}); list them: nodelens runs")
        run.record()
        return run

    def file(self, relative: str) -> Path:
        """Return the path of a file of the run; raises `RunError` for one outside it."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise RunError(f"{relative!r} is not a path inside a run folder")
        path = self.path / parts
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RunError(f"{path}: a link that leads out of the run folder; remove the link")
        return path

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

    def record(self) -> RunRecord:
        """Return ``run.json``; raises `RunError` where it is damaged or of another format."""
        values = self.read_json(RECORD)
        return from_stored(RunRecord, values, str(self.file(RECORD)), FORMAT, "run record")

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        self.write_json(RECORD, to_stored(record, FORMAT))

    def update_record(self, **fields: Any) -> None:
        """Set fields of ``run.json``; other fields are kept."""
        self.write_record(evolve(self.record(), **fields))

    def status(self) -> str:
        """Return the status; a record that still says ``running`` may be of a killed run.

        ``finished``, ``failed``, ``interrupted``, ``running``, ``killed`` (its process is gone), or
        ``running or killed`` where that cannot be known: the run was started on another machine.
        """
        record = self.record()
        if record.status != "running":
            return record.status
        owner = Owner(record.pid, record.process, record.host)
        if owner.host != platform.node():
            return "running or killed"
        return "running" if owner.alive() else "killed"

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
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: not a regular file; it was replaced after it was written")
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
        known = self.record().findings
        if relative not in known:
            self.update_record(findings=(*known, relative))
        return relative

    def findings(self) -> list[Finding]:
        """Return the findings in the order in which they were first written."""
        names = self.record().findings
        return [finding_from_json(self.read_json(name), str(self.file(name))) for name in names]

    def write_manifest(self) -> None:
        """Write ``manifest.json`` as the last file: a check reports any later change."""
        self.write_json(manifest.NAME, manifest.to_json(manifest.build(self.path)))

    def manifest(self) -> manifest.Manifest:
        """Return ``manifest.json``; raises `RunError` where it is damaged."""
        return manifest.from_json(self.read_json(manifest.NAME), str(self.file(manifest.NAME)))

    def check_manifest(self) -> list[str]:
        """Return one line per file that is missing, changed or unknown; empty if none."""
        if not self.has(manifest.NAME):
            return [f"{manifest.NAME}: missing; the run has not come to its end"]
        return manifest.compare(self.manifest(), manifest.build(self.path))


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
    runs = [RunFolder(record.parent) for record in root.glob(f"*/*/{RECORD}")]
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


def _first_record(run_id: str, name: str, config: str) -> RunRecord:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return RunRecord(
        run_id, name, "running", text_digest(config), started=started, **asdict(this_process())
    )
