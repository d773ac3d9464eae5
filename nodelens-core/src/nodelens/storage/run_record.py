"""The record of a run, ``run.json``, as typed values."""

from __future__ import annotations

from typing import Any, Literal

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.backend import Permissions
from nodelens.storage.manifest import FileDigest

FORMAT = 3
"""The format of the record; another version may have another number."""

Status = Literal["running", "finished", "failed", "interrupted"]


@frozen
class StageRecord:
    """How a stage went, and the files that it wrote by their paths."""

    status: Status
    seconds: float | None = None
    files: dict[str, FileDigest] = field(factory=dict)


@frozen
class PatternRecord:
    """The metrics that patterns took and left out; `asked` is the config's section `metrics`."""

    asked: Any  # Any: YAML values
    taken: tuple[str, ...]
    left_out: dict[str, str]


@frozen
class ModelRecord:
    """Where the model comes from; see `nodelens.interfaces.backend.ModelHandle`."""

    origin: str
    pretrained: bool
    notes: dict[str, Any]  # Any: JSON values of each backend's own


@frozen
class LossRecord:
    """A loss, or what nodes were scored for in its place, by its name and its unit."""

    name: str
    unit: str


@frozen
class ResumeRecord:
    """How a run was resumed: when, by which command, after which status, keeping which stages."""

    command: str
    at: str
    origin: str
    kept: tuple[str, ...]
    before: str


@frozen
class GitState:
    """The commit, and whether there were uncommitted changes."""

    commit: str
    dirty: bool


@frozen
class PluginRecordEntry:
    """A plugin as `nodelens plugins` lists it."""

    name: str
    distribution: str
    version: str | None
    status: str
    reason: str | None
    offers: dict[str, tuple[str, ...]]


@frozen
class RunRecord:
    """The record of a run.

    Attributes:
        id: the name of the folder.
        name: the name of the run in its config.
        status: how the run goes or went.
        config: the SHA-256 of the config.
        pid: the id of the process that writes the folder.
        process: the start of that process in Unix seconds.
        host: the machine of that process.
        started: when the run started, in UTC.
        finished: when the run ended, in UTC.
        seconds: how long the run took.
        stages: the stages by name, in their order.
        warnings: what a reader must not miss.
        error: why the run failed.
        summary: the key numbers.
        findings: the paths of the findings, in the order in which they were first written.
        resolved_config: the SHA-256 of the config with metrics in the place of patterns.
        patterns: what patterns of metrics took and left out.
        failed_metrics: the metrics that failed, with the reasons.
        model: where the model comes from.
        loss: the loss of the run.
        target: what nodes were scored for in place of the loss.
        classes: the classes of the data, in the order of the model's outputs.
        data: digests of the calibration and of the test samples.
        workers: the number of processes that captured.
        allowed: the foreign code that the run was allowed to run.
        command: the command line.
        seed: what every random choice was derived from.
        device: where the model ran.
        threads: the number of CPU threads.
        versions: the versions of Python and packages.
        plugins: the plugins that were found.
        components: the distribution of every component by kind and name.
        git: the state of the checkout that the run was started in.
        resumed: when and from where the run was resumed.
    """

    id: str
    name: str
    status: Status
    config: str
    pid: int = field(validator=validators.ge(1))
    process: float
    host: str
    started: str
    finished: str | None = None
    seconds: float | None = None
    stages: dict[str, StageRecord] = field(factory=dict)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    summary: dict[str, int | float | None] = field(factory=dict)
    findings: tuple[str, ...] = ()
    resolved_config: str | None = None
    patterns: PatternRecord | None = None
    failed_metrics: dict[str, str] = field(factory=dict)
    model: ModelRecord | None = None
    loss: LossRecord | None = None
    target: LossRecord | None = None
    classes: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    workers: int | None = None
    allowed: Permissions = field(factory=Permissions)
    command: str = ""
    seed: int | None = None
    device: str | None = None
    threads: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    versions: dict[str, str] = field(factory=dict)
    plugins: tuple[PluginRecordEntry, ...] = ()
    components: dict[str, dict[str, str]] = field(factory=dict)
    git: GitState | None = None
    resumed: tuple[ResumeRecord, ...] = ()

    def with_stage(self, name: str, stage: StageRecord) -> RunRecord:
        """Return the record with one stage replaced or added."""
        return evolve(self, stages={**self.stages, name: stage})
