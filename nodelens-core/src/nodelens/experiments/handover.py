"""What rank 0 tells the other ranks of a run before they capture their shares."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from nodelens.errors import RunError
from nodelens.experiments.calibration import fingerprint
from nodelens.storage.tensors import state_to_bytes

if TYPE_CHECKING:
    from nodelens.experiments.context import Experiment
    from nodelens.experiments.setup import Subject


def hand_over(experiment: Experiment, subject: Subject) -> None:
    """Tell the other ranks where the run is, what it reads, and the weights that it has trained.

    Remembers the number of ranks; raises `RunError` where a resumed run had another one.
    """
    ranks, run = experiment.ranks, experiment.run
    captures = "capture" not in experiment.kept
    before = run.record().get("ranks", ranks.world)
    if captures and before != ranks.world:
        raise RunError(
            f"{run.path}: the run was started by {before} processes and this is {ranks.world}; "
            "each has a checkpoint of its own, so resume it with as many, or start a new run"
        )
    run.update_record(ranks=ranks.world)
    if ranks.world == 1:
        return
    told = {
        "run": str(run.path.absolute()),
        "captures": captures,
        "threads": torch.get_num_threads(),
        "data": fingerprint(subject.calibration),
    }
    ranks.spread(json.dumps(told).encode())
    trained = experiment.config.training is not None and captures
    ranks.spread(state_to_bytes(subject.handle.module.state_dict()) if trained else b"")
