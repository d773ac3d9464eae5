"""Resuming of a run that was killed, interrupted or failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from nodelens.config.dump import to_mapping, to_yaml
from nodelens.config.load import read_config
from nodelens.errors import RunError
from nodelens.experiments.experiment import log
from nodelens.experiments.record import command_line, versions
from nodelens.storage import manifest
from nodelens.storage.atomic import remove_unfinished
from nodelens.storage.processes import this_process
from nodelens.storage.run_folder import CONFIG, text_digest
from nodelens.storage.run_record import ResumeRecord, RunRecord

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.plugins.plugin_record import PluginRecord
    from nodelens.storage.run_folder import RunFolder

_ALWAYS = "model"
"""The stage that every process does for itself."""
_SHOWN = 5


def check_resumable(
    run: RunFolder, config: RunConfig, device: str, plugins: Sequence[PluginRecord] = ()
) -> None:
    """Raise `RunError` unless the run has not finished and would continue as it was started.

    A run that says that it is finished and has no manifest ended while its reports were written.
    """
    record = run.record()
    status = run.status()
    if status == "finished" and run.has(manifest.NAME):
        raise RunError(f"{run.path}: the run is finished; there is nothing to resume")
    if status == "running":
        raise RunError(
            f"{run.path}: the run is still going on, in process {record.pid}; wait for it, or "
            "stop it first"
        )
    if status == "running or killed":
        log.warning("%s was started on %s; make sure that it has ended", run.path, record.host)
    _check_config(run, config, record)
    before = record.device or device
    if before != device:
        raise RunError(
            f"{run.path}: the run was started on {before}, this would be {device}, and the results "
            "would not be the same; use the device that it was started on, or start a new run"
        )
    _warn_of_versions(record, plugins)


def _check_config(run: RunFolder, config: RunConfig, record: RunRecord) -> None:
    text = run.config_file().read_text(encoding="utf-8")
    if text_digest(text) not in (record.config, record.resolved_config):
        raise RunError(
            f"{run.file(CONFIG)}: changed after the run had started; restore it, or start a new "
            "run with it"
        )
    before, given = read_config(run.file(CONFIG)).value, to_mapping(config)
    if record.patterns is not None and given["metrics"] == record.patterns.asked:
        before["metrics"] = given["metrics"]
    changes = list(_changes(before, given, ""))
    if to_yaml(config) != text and changes:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise RunError(
            f"{run.path}: the config has changed since the run started: "
            f"{'; '.join(changes[:_SHOWN])}{more}; resume without CONFIG, or start a new run"
        )


def _changes(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the differences of two configs, path by path; the output folder does not count."""
    if path == "output" or before == after:
        return
    both = (before, after)
    if all(isinstance(each, dict) for each in both):
        for key in dict.fromkeys([*before, *after]):
            yield from _changes(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
    elif all(isinstance(each, list) for each in both) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changes(one, other, f"{path}.{number}")
    else:
        yield f"{path} was {before!r} and is {after!r}"


def _warn_of_versions(record: RunRecord, plugins: Sequence[PluginRecord]) -> None:
    """Warn of packages and plugins that are not those that the run was started with."""
    known = record.versions
    for name, now in versions().items():
        if known.get(name, now) != now:
            log.warning("resumed with %s %s, started with %s", name, now, known[name])
    before = {each.name: f"{each.version} {each.status}" for each in record.plugins}
    present = {each.name: f"{each.version} {each.status}" for each in plugins}
    for name in dict.fromkeys((*before, *present)) if before and present else ():
        one, other = before.get(name, "absent"), present.get(name, "absent")
        if one != other:
            log.warning("resumed with plugin %s %s, started with it %s", name, other, one)


def reopen(run: RunFolder) -> frozenset[str]:
    """Prepare a run folder for resuming; return the stages that are kept.

    These are all up to the first one that did not finish, or of which an artifact is not as it was
    written. What a killed process left unfinished is deleted.
    """
    remove_unfinished(run.path)
    run.file(manifest.NAME).unlink(missing_ok=True)
    record, kept = run.record(), _kept(run)
    files = {name for stage in kept for name in record.stages[stage].files}
    last = kept[-1] if kept else ""
    entry = ResumeRecord(
        command=command_line(sys.argv),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        origin=f"after {last}" if last else "the start",
        kept=tuple(kept),
        before=run.status(),
    )
    run.update_record(
        **asdict(this_process()),
        status="running",
        finished=None,
        error=None,
        warnings=(),
        stages={name: record.stages[name] for name in kept},
        findings=tuple(name for name in record.findings if name in files),
        resumed=(*record.resumed, entry),
    )
    return frozenset(kept)


def _kept(run: RunFolder) -> list[str]:
    kept: list[str] = []
    for name, stage in run.record().stages.items():
        if name == _ALWAYS:
            continue
        problems = [manifest.difference(run.path, *each) for each in stage.files.items()]
        if stage.status != "finished" or any(problems):
            if stage.status == "finished":
                log.warning("%s is done again: %s", name, next(filter(None, problems)))
            break
        kept.append(name)
    return kept


def note_origin(run: RunFolder, text: str) -> None:
    """Record the point that the resumed run continues from."""
    *earlier, last = run.record().resumed
    run.update_record(resumed=(*earlier, evolve(last, origin=text)))
