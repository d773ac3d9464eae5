"""Runs that stop and go on end as runs that never stopped."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import RunError
from nodelens.storage.run_folder import RunFolder

BASE = {
    "name": "small",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [6, 5]},
    "data": {"name": "digits", "flat": True, "subset": 200, "batch_size": 16},
    "training": {"epochs": 1},
    "capture": {"samples": 64, "folds": 4, "checkpoint_seconds": 0},
    "metrics": ["activation_rms", "taylor", "redundancy"],
    "analyses": ["agreement"],
    "interventions": [{"name": "ablation", "fractions": [0.5]}],
    "pruning": {"name": "taylor", "sparsity": 0.5},
    "reports": ["json"],
}
RESULTS = ["scores.safetensors", "scores.csv", "statistics.safetensors", "weights.safetensors"]
PLACES = {
    "training": "nodelens.experiments.stages.train",
    "evaluation": "nodelens.experiments.stages.evaluate",
    "scores": "nodelens.experiments.stages.scores_csv",
    "pruning": "nodelens.experiments.stages.prune_and_evaluate",
    "reports": "nodelens.experiments.stages.write_reports",
}


class StopError(Exception):
    """Ends a run where a kill would."""


def config(folder: Path, **changes) -> dict:
    return {**BASE, "output": str(folder), **changes}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    """A run that was never stopped."""
    return nodelens.run(config(tmp_path_factory.mktemp("whole")))


def stopped(folder: Path, monkeypatch, place: str, after: int = 0, **changes) -> RunFolder:
    """Return a run that stopped at the call number `after` of a function."""
    module, _, name = place.rpartition(".")
    calls = []

    owner = importlib.import_module(module)
    with monkeypatch.context() as patch:
        real = getattr(owner, name)

        def stop(*args: object, **kwargs: object) -> object:
            if len(calls) == after:
                raise StopError
            calls.append(1)
            return real(*args, **kwargs)

        patch.setattr(owner, name, stop)
        with pytest.raises(StopError):
            nodelens.run(config(folder, **changes))
    (path,) = (folder / "small").iterdir()
    return RunFolder.open(path)


def assert_same(run: RunFolder, whole: RunFolder) -> None:
    for name in RESULTS:
        assert run.file(name).read_bytes() == whole.file(name).read_bytes(), name
    found, expected = ([each.data for each in r.findings()] for r in (run, whole))
    assert json.dumps(without_times(found)) == json.dumps(without_times(expected))
    assert run.record().status == "finished"
    assert run.check_manifest() == []
    assert not run.file("capture").exists()


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if "second" not in key}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("batch", range(5))
def test_a_capture_goes_on_from_any_batch(tmp_path, monkeypatch, whole, batch):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", batch)
    resumed = nodelens.run(resume=run.path)
    assert resumed.path == run.path
    assert_same(resumed, whole)
    (entry,) = resumed.record().resumed
    assert entry.kept == ("training", "evaluation")
    assert entry.before == "failed"
    start = f"capture, pass 1, after {batch} batches" if batch else "after evaluation"
    assert entry.origin.startswith(start)


@pytest.mark.parametrize("stage", PLACES)
def test_any_stage_goes_on(tmp_path, monkeypatch, whole, stage):
    run = stopped(tmp_path, monkeypatch, PLACES[stage])
    assert_same(nodelens.run(resume=run.path), whole)


def test_finished_stages_are_not_done_again(tmp_path, monkeypatch, whole):
    run = stopped(tmp_path, monkeypatch, PLACES["reports"])

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("done again")

    for place in ("train", "evaluate", "prune_and_evaluate"):
        monkeypatch.setattr(f"nodelens.experiments.stages.{place}", never)
    monkeypatch.setattr("nodelens.capture.engine.run_capture", never)
    monkeypatch.setattr("nodelens.scoring.scorer.compute_scores", never)
    assert_same(nodelens.run(resume=run.path), whole)


@pytest.mark.parametrize("name", ["statistics.safetensors", "weights.safetensors", "scores.csv"])
def test_an_artifact_that_is_not_whole_is_made_again(tmp_path, monkeypatch, whole, name, caplog):
    run = stopped(tmp_path, monkeypatch, PLACES["reports"])
    data = run.file(name).read_bytes()
    run.file(name).write_bytes(data[: len(data) // 2])
    resumed = nodelens.run(resume=run.path)
    assert_same(resumed, whole)
    assert f"is done again: {name}: changed" in caplog.text


def test_a_checkpoint_that_is_not_whole_is_not_trusted(tmp_path, monkeypatch, whole, caplog):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 3)
    path = run.file("capture/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    assert_same(nodelens.run(resume=run.path), whole)
    assert "not a whole safetensors file" in caplog.text


def test_unfinished_files_of_a_killed_process_are_swept_away(tmp_path, monkeypatch, whole):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 3)
    half = run.file("capture/.tmp-0123456789abcdef")
    half.write_bytes(b"half")
    assert_same(nodelens.run(resume=run.path), whole)
    assert not half.exists()


def test_several_passes_go_on_too(tmp_path, monkeypatch):
    small = {**BASE["capture"], "memory_budget": "3KiB"}
    (tmp_path / "one").mkdir()
    expected = nodelens.run(config(tmp_path / "whole", capture=small))
    assert expected.read_json("capture.json")["passes"] > 1
    for batch in (2, 5, 7):
        folder = tmp_path / str(batch)
        run = stopped(
            folder, monkeypatch, "nodelens.capture.engine.read_batch", batch, capture=small
        )
        resumed = nodelens.run(resume=run.path)
        for name in RESULTS[:2]:
            assert resumed.file(name).read_bytes() == expected.file(name).read_bytes()


def test_a_run_is_found_by_its_id(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = stopped(tmp_path / "outputs", monkeypatch, PLACES["scores"])
    assert main(["-q", "run", "--resume", run.path.name]) == 0
    assert run.status() == "finished"


@pytest.mark.parametrize("override", ["capture.samples=32", "data.path=a/b", "metrics=[taylor]"])
def test_an_override_is_not_taken_for_a_config(tmp_path, monkeypatch, capsys, override):
    monkeypatch.chdir(tmp_path)
    run = stopped(tmp_path / "outputs", monkeypatch, PLACES["scores"])
    assert main(["run", "--resume", run.path.name, override]) == 2
    told = capsys.readouterr().err
    assert "--resume uses the config that the run was started with, and" in told
    assert f"start a new run: nodelens run {run.path.relative_to(tmp_path)}" in told
    assert told.splitlines()[0].endswith(f"config.yaml {override}")
    assert run.status() == "failed"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epochs=2"], "training.epochs was 1 and is 2"),
        (["metrics.1=first_order"], "metrics.1 was 'taylor' and is 'first_order'"),
        (["seed=3", "capture.folds=8"], "seed was 0 and is 3; capture.folds was 4 and is 8"),
    ],
)
def test_a_changed_config_is_refused_with_the_reason(tmp_path, monkeypatch, overrides, message):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 2)
    before = run.read_text("run.json")
    with pytest.raises(RunError, match="the config has changed since the run started") as raised:
        nodelens.run(config(tmp_path), *overrides, resume=run.path)
    assert message in str(raised.value)
    assert run.read_text("run.json") == before


def test_the_same_config_is_taken(tmp_path, monkeypatch, whole):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 2)
    assert_same(nodelens.run(config(tmp_path), resume=run.path), whole)


def test_a_config_changed_in_the_run_folder_is_refused(tmp_path, monkeypatch):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 2)
    path = run.file("config.yaml")
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 2"))
    with pytest.raises(RunError, match=r"config\.yaml: changed after the run had started"):
        nodelens.run(resume=run.path)


def test_other_data_are_refused(tmp_path, monkeypatch):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 2)
    run.update_record(data=["another", "digest"])
    with pytest.raises(RunError, match="the data are not those that the run was started on"):
        nodelens.run(resume=run.path)


def test_another_device_is_refused(tmp_path, monkeypatch):
    run = stopped(tmp_path, monkeypatch, "nodelens.capture.engine.read_batch", 2)
    run.update_record(device="cuda")
    with pytest.raises(RunError, match="the run was started on cuda, this would be cpu"):
        nodelens.run(resume=run.path)


def test_a_finished_run_and_a_running_one_are_refused(tmp_path, whole):
    with pytest.raises(RunError, match="the run is finished; there is nothing to resume"):
        nodelens.run(resume=whole.path)
    copy = shutil.copytree(whole.path, tmp_path / "copy")
    RunFolder(copy).update_record(status="running")
    with pytest.raises(RunError, match="still going on, in process"):
        nodelens.run(resume=copy)


def test_a_run_of_an_earlier_format_is_refused(tmp_path, whole):
    copy = shutil.copytree(whole.path, tmp_path / "copy")
    RunFolder(copy).write_json("run.json", RunFolder(copy).read_json("run.json") | {"format": 1})
    with pytest.raises(
        RunError, match="run record of format 1, this version reads 3; run again, or"
    ):
        nodelens.run(resume=copy)


def test_a_run_that_is_not_there_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--resume", "20240101-000000"]) == 2
    assert "there is no run '20240101-000000': give the path" in capsys.readouterr().err
    assert main(["run"]) == 2
    assert "give a CONFIG, or --resume RUN" in capsys.readouterr().err
