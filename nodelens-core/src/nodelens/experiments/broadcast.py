"""The message that rank 0 broadcasts to the other workers before the capture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from attrs import asdict, frozen

from nodelens.errors import RunError
from nodelens.experiments.calibration import fingerprint
from nodelens.storage.tensors import state_to_bytes

if TYPE_CHECKING:
    from nodelens.experiments.experiment import Experiment
    from nodelens.experiments.setup import StudyInputs


@frozen
class BroadcastMessage:
    """The folder of the run, whether the run captures, its threads, and a digest of its samples."""

    run: str
    captures: bool
    threads: int
    data: str


def broadcast_study(experiment: Experiment, study: StudyInputs) -> None:
    """Broadcast the folder of the run, a digest of its samples, and the trained weights.

    Records the number of workers; raises `RunError` where a resumed run had another one.
    """
    workers, run = experiment.workers, experiment.run
    captures = "capture" not in experiment.completed_stages
    before = run.record().workers or workers.world_size
    if captures and before != workers.world_size:
        raise RunError(
            f"{run.path}: the run was started by {before} processes and this is "
            f"{workers.world_size}; each has a checkpoint of its own, so resume it with as many, "
            "or start a new run"
        )
    run.update_record(workers=workers.world_size)
    if workers.world_size == 1:
        return
    threads, data = torch.get_num_threads(), fingerprint(study.calibration)
    message = BroadcastMessage(str(run.path.absolute()), captures, threads, data)
    workers.spread(json.dumps(asdict(message)).encode())
    trained = experiment.config.training is not None and captures
    workers.spread(state_to_bytes(study.handle.module.state_dict()) if trained else b"")
