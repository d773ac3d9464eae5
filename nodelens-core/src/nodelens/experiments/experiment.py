"""The experiment: all that the stages of one run have in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from nodelens.capture.distributed.workers import Workers
from nodelens.errors import TerminationError
from nodelens.interfaces.backend import Permissions
from nodelens.progress import Progress, silent
from nodelens.storage import manifest
from nodelens.storage.run_record import StageRecord, Status

if TYPE_CHECKING:
    import torch

    from nodelens.config.schema import Component, RunConfig
    from nodelens.findings.finding import Finding
    from nodelens.plugins.manager import Plugins
    from nodelens.plugins.specs import Kind
    from nodelens.storage.run_folder import RunFolder

log = logging.getLogger("nodelens")


@frozen(eq=False)
class Experiment:
    """One run: its resolved config, plugins, folder and device.

    `completed_stages` are those that a resumed run has finished before, whose artifacts are whole.
    `workers` says which of the run's processes this is, `allowed` which foreign code it may run.
    """

    config: RunConfig
    plugins: Plugins
    run: RunFolder
    device: torch.device
    progress: Progress = silent
    allowed: Permissions = field(factory=Permissions)
    completed_stages: frozenset[str] = frozenset()
    workers: Workers = field(factory=Workers)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    def build(self, kind: Kind, component: Component) -> Any:
        """Make a component of the config with its options."""
        return self.plugins.registry.build(kind, component)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageResult]:
        """Time a stage, record it in ``run.json``, and call observers when it has ended well."""
        log.info("%s: started", name)
        started, stage = time.perf_counter(), StageResult()
        self._record(name, StageRecord("running"))
        try:
            yield stage
        except BaseException as error:
            self._record(name, StageRecord(status_of(error), _since(started)))
            raise
        files = {name: manifest.describe(self.run.file(name)) for name in stage.files}
        self._record(name, StageRecord("finished", _since(started), files))
        log.info("%s: finished in %.1f s", name, time.perf_counter() - started)
        self.plugins.stage_finished(self.run, name, stage.result)

    def _record(self, name: str, stage: StageRecord) -> None:
        self.run.write_record(self.run.record().with_stage(name, stage))

    def note_replaced(self, hook: str) -> None:
        """Record the plugin that answered the hook of a stage in the place of the core."""
        if hook in self.plugins.replaced:
            known = self.run.record().components
            found = {**known.get("stage", {}), hook: self.plugins.replaced[hook]}
            self.run.update_record(components={**known, "stage": found})

    def keep(self, stage: StageResult, finding: Finding) -> None:
        """Write a finding of a stage to the run folder and its warnings to the log."""
        stage.files.append(self.run.write_finding(finding))
        for warning in finding.warnings:
            log.warning("%s: %s", finding.name, warning)


@define
class StageResult:
    """The result of a stage, which observers get, and the artifacts that the stage has written."""

    result: Any = None
    files: list[str] = field(factory=list)


def status_of(error: BaseException | None) -> Status:
    """Return the status of a run or a stage that an error has ended, or none."""
    if error is None:
        return "finished"
    ended = isinstance(error, KeyboardInterrupt | TerminationError)
    return "interrupted" if ended else "failed"


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
