"""``nodelens runs``."""

from __future__ import annotations

import json
from pathlib import Path

from nodelens.storage.run_folder import RunFolder


def make_run(name="small", **fields):
    run = RunFolder.create(Path("outputs"), name)
    run.update_record(**fields)
    return run


def test_no_runs_says_how_to_start_one(nodelens):
    outcome = nodelens("runs")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "no runs in outputs; start one with: nodelens run CONFIG.yaml\n"


def test_runs_are_listed_with_time_and_status(nodelens):
    first = make_run(status="finished", seconds=75.2, started="2031-02-03T04:05:06+00:00")
    second = make_run(status="failed", seconds=3700, error="no luck")
    outcome = nodelens("runs")
    head, *lines = outcome.out.splitlines()
    assert head.split() == ["RUN", "STARTED", "TIME", "STATUS"]
    assert lines[0].split() == [str(first.path), "2031-02-03", "04:05", "1:15", "finished"]
    assert lines[1].split()[0] == str(second.path)
    assert lines[1].split()[3:] == ["1:01:40", "failed:", "no", "luck"]


def test_a_damaged_run_hides_no_other(nodelens):
    damaged = make_run()
    (damaged.path / "run.json").write_text("{")
    make_run("other", status="finished", seconds=1)
    outcome = nodelens("runs", "--json")
    statuses = {entry["path"]: entry["status"] for entry in json.loads(outcome.out)}
    assert sorted(statuses.values()) == ["damaged", "finished"]
    assert nodelens("runs").code == 0


def test_another_folder_can_be_named(nodelens):
    RunFolder.create(Path("elsewhere"), "small")
    assert "elsewhere" in nodelens("runs", "--output", "elsewhere").out
