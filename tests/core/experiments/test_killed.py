"""Runs whose process is killed, with SIGKILL, go on and end as runs that never were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nodelens
from nodelens.storage.run_folder import RunFolder

CONFIG = {
    "name": "killed",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [6, 5]},
    "data": {"name": "digits", "flat": True, "subset": 200, "batch_size": 16},
    "training": {"epochs": 1},
    "capture": {"samples": 64, "folds": 4, "checkpoint_seconds": 0},
    "metrics": ["activation_rms", "taylor", "redundancy"],
    "analyses": ["agreement"],
    "pruning": {"name": "taylor", "sparsity": 0.5},
    "recovery": {"name": "fine_tune", "steps": 6, "learning_rate": 0.01},
    "reports": ["json"],
}
RESULTS = ["scores.safetensors", "scores.csv", "statistics.safetensors", "weights.safetensors"]
RESULTS += ["pruned/taylor/weights.safetensors"]
RESULTS += ["pruned/taylor/recovered/fine_tune/weights.safetensors"]

VICTIM = """
import json, os, signal, sys
import nodelens
from nodelens.capture import engine
from nodelens.recovery import recovery_loop as loop

where, number, config = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
owner = {"read_batch": engine, "learning_rate": loop}.get(where, os)
real, calls = getattr(owner, where), []

def deadly(*args, **kwargs):
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(owner, where, deadly)
nodelens.run(config)
"""
MOMENTS = [
    ("replace", 3),
    ("replace", 12),
    ("fsync", 20),
    ("fsync", 31),
    ("read_batch", 3),
    ("replace", 40),
    ("fsync", 45),
    ("learning_rate", 4),
]
"""The function in which the process kills itself, and at which call: `fsync` comes when a file is
written and not yet in its place, `replace` when it is about to be moved there, `learning_rate` at
every step of the recovery."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    """A run that was never killed."""
    return nodelens.run({**CONFIG, "output": str(tmp_path_factory.mktemp("whole"))})


def kill(folder: Path, where: str, number: int) -> RunFolder:
    config = json.dumps({**CONFIG, "output": str(folder)})
    command = [sys.executable, "-c", VICTIM, where, str(number), config]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert ended.returncode == -9, ended.stderr.decode()
    (path,) = (folder / "killed").iterdir()
    return RunFolder.open(path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
@pytest.mark.parametrize(("where", "number"), MOMENTS)
def test_a_killed_run_ends_with_the_same_scores(tmp_path, whole, where, number):
    run = kill(tmp_path, where, number)
    assert run.status() == "killed"
    resumed = nodelens.run(resume=run.path)
    for name in RESULTS:
        assert resumed.file(name).read_bytes() == whole.file(name).read_bytes(), name
    assert resumed.check_manifest() == []
    assert not list(resumed.path.rglob(".tmp-*"))
    (entry,) = resumed.record().resumed
    assert entry.before == "killed"
    assert entry.origin


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_run_may_be_killed_again_and_again(tmp_path, whole):
    run = kill(tmp_path, "read_batch", 2)
    code = VICTIM.replace("nodelens.run(config)", "nodelens.run(resume=config)")
    for number in (2, 1):
        command = [sys.executable, "-c", code, "read_batch", str(number), json.dumps(str(run.path))]
        assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    resumed = nodelens.run(resume=run.path)
    assert resumed.file(RESULTS[0]).read_bytes() == whole.file(RESULTS[0]).read_bytes()
    assert len(resumed.record().resumed) == 3
