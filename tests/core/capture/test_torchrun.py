"""Whole runs by two processes under torch's launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

CONFIG = """
name: two
seed: 1
threads: 1
model: {name: import, path: "two_ranks:build"}
data: {name: digits, batch_size: 8, subset: 400}
training: {epochs: 1}
capture: {samples: 200, folds: 4, checkpoint_seconds: 0}
metrics: [activation_rms, activation_variance]
reports: [json]
"""

MODEL = """
import os, signal, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.calls = nn.Linear(64, 8), nn.Linear(8, 10), 0

    def forward(self, x):
        self.calls += 1
        if os.environ.get("DIES_AT") == str(self.calls) and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.b(torch.relu(self.a(x.flatten(1))))

def build():
    return Net()
"""

SCORE = """
import torch
from torch import distributed, nn
import nodelens
from nodelens.capture.distributed.workers import Workers
from two_ranks import build

distributed.init_process_group("gloo")
torch.manual_seed(0)
model = build().double()
x = torch.randn(50, 64, dtype=torch.float64)
y = torch.arange(50) % 10
batches = list(zip(x.split(8), y.split(8)))
scores = nodelens.score(model, batches, ["activation_rms"])
alone = nodelens.score(model, batches, ["activation_rms"], workers=Workers())
one, other = (each["activation_rms", "a:neurons"] for each in (scores, alone))
assert scores.samples == 50
assert abs(one.values - other.values).max() < 1e-10 * abs(other.values).max()
assert abs(one.se - other.se).max() < 1e-10 * abs(other.se).max()
distributed.destroy_process_group()
"""


def launch(arguments, folder, processes=2, **environment):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    python = [sys.executable, *(launcher if processes > 1 else ())]
    path = os.pathsep.join([str(folder), *sys.path])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [*python, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def run(folder, *arguments, **options):
    given = ["-m", "nodelens", "run", *arguments, "--allow-import", "two_ranks"]
    return launch(given, folder, **options)


def folder_of(path):
    (found,) = path.glob("*/*/run.json")
    return found.parent


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "two_ranks.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "two.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def check_scores(one, other):
    expected, found = (load_file(folder_of(each) / "scores.safetensors") for each in (one, other))
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert np.abs(values - found[name]).max() <= 1e-10 * np.abs(values).max(), name


def test_two_processes_score_as_one_also_after_one_was_killed(work):
    alone = run(work, "two.yaml", "output=alone", processes=1)
    assert alone.returncode == 0, alone.stderr
    together = run(work, "two.yaml", "output=together")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("two: finished in") == 1
    check_scores(work / "alone", work / "together")

    killed = run(work, "two.yaml", "output=killed", DIES_AT="12")
    record = json.loads((folder_of(work / "killed") / "run.json").read_text(encoding="utf-8"))
    assert killed.returncode != 0
    assert (record["status"], record["stages"]["capture"]["status"]) == ("failed", "failed")
    assert "another rank" in record["error"] or "rank 1 has ended" in record["error"]

    path = str(folder_of(work / "killed"))
    single = run(work, "--resume", path, processes=1)
    assert "was started by 2 processes and this is 1" in single.stderr
    again = run(work, "--resume", path)
    assert again.returncode == 0, again.stderr
    check_scores(work / "alone", work / "killed")
    record = json.loads((folder_of(work / "killed") / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["resumed"][-1]["origin"].startswith("capture, pass 1, after")
    assert not (folder_of(work / "killed") / "capture").exists()


def test_score_shares_the_batches_of_a_process_group(work):
    (work / "score.py").write_text(SCORE, encoding="utf-8")
    done = launch(["score.py"], work)
    assert done.returncode == 0, done.stderr
