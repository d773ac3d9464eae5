"""Runs that are told to end by SIGTERM, while code of plugins runs that catches every exception."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nodelens.storage.run_folder import RunFolder

CONFIG = {
    "name": "ended",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [6, 5]},
    "data": {"name": "digits", "flat": True, "subset": 200, "batch_size": 16},
    "capture": {"samples": 64, "folds": 4},
    "metrics": ["activation_rms", "taylor"],
    "reports": ["json"],
}
PROGRAM = """
import os, signal, sys, time
from nodelens import hookimpl
from nodelens.cli.main import main
from nodelens.plugins import manager
from nodelens_metrics.activations.activity import ActivationRMS

where, config = sys.argv[1:]

def end():
    for _ in range(3):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        except Exception:
            pass

def score(self, group):
    end()

class Observer:
    @hookimpl
    def nodelens_captured(self):
        if where == "observer":
            end()

    @hookimpl
    def nodelens_run_finished(self):
        if where == "twice":
            os.kill(os.getpid(), signal.SIGTERM)
            print("still here")

if where != "observer":
    ActivationRMS.score = score
make = manager.new_manager

def new_manager():
    made = make()
    made.register(Observer(), "observer:main")
    return made

manager.new_manager = new_manager
sys.exit(main(["run", config]))
"""


def end(folder: Path, where: str) -> tuple[subprocess.CompletedProcess[str], RunFolder]:
    path = folder / "config.json"
    path.write_text(json.dumps({**CONFIG, "output": str(folder / "out")}))
    command = [sys.executable, "-c", PROGRAM, where, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    (found,) = (folder / "out/ended").iterdir()
    return ended, RunFolder.open(found)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
@pytest.mark.parametrize(("where", "stage"), [("metric", "scores"), ("observer", "capture")])
def test_code_that_catches_every_exception_does_not_swallow_the_signal(tmp_path, where, stage):
    ended, run = end(tmp_path, where)
    assert ended.returncode == 2, ended.stderr
    assert "error: the run was terminated (SIGTERM)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert run.record().status == run.record().stages[stage].status == "interrupted"
    assert "SIGTERM" in (run.record().error or "")
    assert run.check_manifest() == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
def test_a_second_signal_ends_the_process_at_once(tmp_path):
    ended, run = end(tmp_path, "twice")
    assert ended.returncode == -15, ended.stderr
    assert "still here" not in ended.stdout
    assert run.record().status == "interrupted"
