"""Runs by several workers under torchrun: all capture, and rank 0 does everything else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import evolve

from nodelens.capture.distributed.workers import Workers, joined_group, leave_group, own_device
from nodelens.config.stored_values import restored_text
from nodelens.errors import CaptureError, ConfigError
from nodelens.experiments.broadcast import BroadcastMessage
from nodelens.experiments.calibration import fingerprint
from nodelens.experiments.capturing import capture_request
from nodelens.experiments.experiment import Experiment
from nodelens.experiments.run import run_experiment
from nodelens.experiments.run_components import choose_metrics, plan_capture
from nodelens.experiments.setup import choose_device, load_study
from nodelens.storage.run_folder import RunFolder
from nodelens.storage.tensors import state_from_bytes

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.interfaces.backend import Permissions
    from nodelens.plugins.manager import Plugins
    from nodelens.progress import Progress


def run_all_workers(
    configs: Sequence[RunConfig],
    plugins: Plugins,
    progress: Progress,
    allowed: Permissions | None = None,
    resume: RunFolder | None = None,
) -> list[RunFolder]:
    """Run some configs with all workers that torchrun has started.

    Returns the run folders on rank 0. The other workers capture their part of every run and return
    nothing. Raises `ConfigError` for settings that need one process.
    """
    finished: list[RunFolder] = []
    with joined_group(own_device(choose_device(configs[0].device))) as workers:
        for config in configs:
            mine = evolve(workers, last=config is configs[-1])
            if workers.world_size > 1 and config.capture.stop_when is not None:
                raise ConfigError(["capture.stop_when: a run that stops early is for one process"])
            if workers.rank:
                follow_experiment(config, plugins, mine, allowed)
            else:
                found = run_experiment(config, plugins, progress, allowed, resume, mine)
                finished.append(found)
    return finished


def follow_experiment(
    config: RunConfig, plugins: Plugins, workers: Workers, allowed: Permissions | None
) -> None:
    """Capture one worker's part of a run, with the weights that rank 0 has trained.

    Raises `CaptureError` when the worker has other samples than rank 0, or when rank 0 has ended.
    """
    device = own_device(choose_device(config.device))
    chosen = choose_metrics(config, plugins.registry)
    study = load_study(config, plugins, device, allowed)
    message = restored_text(BroadcastMessage, workers.spread().decode(), "rank 0")
    weights = workers.spread()
    if message.captures:
        if message.data != fingerprint(study.calibration):
            raise CaptureError(f"rank {workers.rank} has other samples than rank 0")
        if weights:
            study.handle.module.load_state_dict(state_from_bytes(weights))
        run = RunFolder(Path(message.run))
        experiment = Experiment(config, plugins, run, device, workers=workers)
        planned = plan_capture(config, study, chosen)
        with _quiet(message.threads):
            plugins.capture(capture_request(experiment, study, planned.plan))
    if workers.last:
        leave_group()


@contextmanager
def _quiet(threads: int) -> Iterator[None]:
    """Use as many CPU threads as rank 0, on which sums depend, and log errors only."""
    log, before = logging.getLogger("nodelens"), torch.get_num_threads()
    level = log.level
    log.setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        log.setLevel(level)
