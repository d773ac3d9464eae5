"""Whatever is changed in the files of a run, commands name it and end with exit code 2 or go on."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import NodelensError
from nodelens.scoring.scores import Scores
from nodelens.storage.run_folder import RunFolder

OTHERS: tuple[Any, ...] = (
    None, True, 3, -1, 2.5, 10**20, "x", "", [], [3], ["x"], [[]], {}, {"x": 3}, {"x": {"x": None}}
)  # fmt: skip
CONFIG = {
    "name": "small",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [6]},
    "data": {"name": "digits", "flat": True, "subset": 120, "batch_size": 32},
    "capture": {"samples": 32, "folds": 4},
    "metrics": ["activation_r*", "outgoing_l2"],
    "pruning": {"name": "magnitude", "sparsity": 0.5},
    "reports": ["json"],
}
FILES = ("run.json", "channels.json", "manifest.json", "findings/pruning.magnitude.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that says that it was interrupted, so that it can be resumed."""
    run = nodelens.run({**CONFIG, "output": str(tmp_path_factory.mktemp("whole"))})
    run.update_record(status="interrupted")
    return run.path


def damages(value: Any) -> Iterator[Any]:
    """Yield copies of a JSON value, each with one key taken out or replaced by another value."""
    if not isinstance(value, dict | list):
        return
    for key in value if isinstance(value, dict) else range(len(value))[:2]:
        without = copy.copy(value)
        del without[key]
        changed = [item for item in OTHERS if item != value[key]]
        for item in [*changed, *damages(value[key])]:
            other = copy.copy(value)
            other[key] = item
            yield other
        yield without


@pytest.mark.parametrize("name", FILES)
def test_every_change_of_a_file_is_read_or_refused_with_its_name(whole, tmp_path, name):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    known = json.loads(run.read_text(name))
    refused = 0
    for value in damages(known):
        run.write_json(name, value)
        try:
            read_all(run)
        except NodelensError as error:
            refused += 1
            assert name in str(error) or name == "run.json", (str(error), value)
    assert refused > 100


def read_all(run: RunFolder) -> None:
    from nodelens.channels.graph_record import read_groups

    run.record()
    run.status()
    run.findings()
    run.manifest()
    read_groups(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"findings": 3}, "findings: expected a list of texts, got 3"),
        ({"pid": -1}, "pid: expected a whole number of at least 1, got -1"),
        ({"pid": None}, "pid: expected a whole number of at least 1, got nothing"),
        ({"stages": {"model": {}}}, "stages.model: the key 'status' is missing"),
        ({"seconds": "x"}, "seconds: expected a number, or null, got the text 'x'"),
        ({"status": "perfect"}, "status: expected one of 'running', 'finished'"),
        ({"config": None}, "config: expected text, got nothing"),
        ({"format": 2}, "run record of format 2, this version reads 3"),
    ],
)
def test_an_edited_record_is_named_by_every_command(
    whole, tmp_path, monkeypatch, capsys, changes, said
):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(shutil.copytree(whole, tmp_path / "outputs/small/20240101-000000"))
    run.write_json("run.json", run.read_json("run.json") | changes)
    for command in (
        ["report", "latest"],
        ["report", str(run.path)],
        ["run", "--resume", str(run.path)],
    ):
        assert main(command) == 2
        assert said in capsys.readouterr().err
    assert main(["runs"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_run_without_a_process_hides_no_other(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for run_id in ("20240101-000000", "20240101-000001"):
        run = RunFolder(shutil.copytree(whole, tmp_path / "outputs/small" / run_id))
    record = run.read_json("run.json")
    del record["pid"]
    run.write_json("run.json", record)
    assert main(["runs", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["status"], second["status"]) == ("interrupted", "damaged")
    assert "no 'pid'" in second["error"]


@pytest.mark.parametrize("flip", range(0, 4000, 97))
def test_scores_that_were_changed_are_refused_with_their_name(whole, tmp_path, flip):
    path = tmp_path / "scores.safetensors"
    data = bytearray((whole / "scores.safetensors").read_bytes())
    data[flip % len(data)] ^= 1 << flip % 8
    path.write_bytes(data)
    try:
        Scores.load(path)
    except NodelensError as error:
        assert str(path) in str(error)


def test_a_link_that_leaves_the_folder_is_not_written_through(whole, tmp_path, capsys):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (run.path / "tables").symlink_to(outside)
    assert main(["report", str(run.path), "--format", "html"]) == 2
    assert "tables" in (said := capsys.readouterr().err)
    assert "a link that leads out of the run folder; remove the link" in said
    assert list(outside.iterdir()) == []


def test_what_was_changed_is_said_until_it_is_mended(whole, tmp_path, capsys):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    run.write_manifest()
    run.write_text("scores.csv", "edited")
    for _ in range(2):
        assert main(["report", str(run.path)]) == 0
        said = capsys.readouterr()
        assert "changed since the run ended: scores.csv: changed" in said.err
    assert [line.split(":")[0] for line in run.check_manifest()] == ["scores.csv"]
