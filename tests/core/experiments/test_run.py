"""Whole runs, good and bad."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

import nodelens
from nodelens.cli.main import main
from nodelens.errors import ConfigError, DataError, RunError
from nodelens.storage.run_folder import RunFolder
from nodelens.storage.run_record import RunRecord

BASE = {
    "name": "small",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [6]},
    "data": {"name": "digits", "flat": True, "subset": 200, "batch_size": 64},
    "capture": {"samples": 64, "folds": 4},
    "metrics": ["activation_rms", "taylor"],
    "reports": ["json"],
}

ARTIFACTS = [
    "capture.json",
    "channels.json",
    "config.yaml",
    "manifest.json",
    "report.html",
    "run.log",
    "scores.csv",
    "scores.safetensors",
    "statistics.safetensors",
    "summary.json",
    "weights.safetensors",
]


def config(tmp_path: Path, **changes) -> dict:
    return {**BASE, "output": str(tmp_path / "out"), **changes}


def write(tmp_path: Path, **changes) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config(tmp_path, **changes)))
    return str(path)


def test_a_model_at_chance_is_the_first_warning_of_all(tmp_path, capsys):
    metrics = [{"name": "weight_l1"}, {"name": "class_information"}]
    assert main(["-q", "run", write(tmp_path, metrics=metrics, interventions=["oracle"])]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")]
    assert printed[0].startswith("WARNING the model is at chance: accuracy of ")
    (summary,) = (tmp_path / "out").glob("*/*/summary.json")
    warnings = json.loads(summary.read_text())["warnings"]
    assert warnings[0].startswith("Evaluation: test: the model is at chance: accuracy of ")


def test_a_run_leaves_every_artifact_and_a_manifest_that_holds(tmp_path):
    run = nodelens.run(config(tmp_path, training={"epochs": 1}, reports=["html", "json"]))
    record = run.record()
    assert record.status == "finished"
    assert record.components["metric"] == {
        "activation_rms": "nodelens-metrics",
        "taylor": "nodelens-metrics",
    }
    assert set(record.stages) == {"model", "training", "evaluation", "capture", "scores"}
    missing = [name for name in ARTIFACTS if not run.has(name)]
    assert missing == []
    assert run.check_manifest() == []


def test_the_resolved_config_runs_again_to_the_same_scores(tmp_path):
    one = nodelens.run(config(tmp_path))
    two = nodelens.run(one.file("config.yaml"))
    assert one.path != two.path
    scores = [run.file("scores.safetensors").read_bytes() for run in (one, two)]
    assert scores[0] == scores[1]


def test_trained_weights_are_those_that_were_scored(tmp_path):
    from nodelens.storage.tensors import read_state

    run = nodelens.run(config(tmp_path, training={"epochs": 2}))
    state = read_state(run.file("weights.safetensors"))
    assert {tuple(tensor.shape) for tensor in state.values()} >= {(6, 64), (6,), (10, 6)}


def test_the_global_state_of_torch_is_left_alone(tmp_path):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    nodelens.run(config(tmp_path, training={"epochs": 1}))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_run_without_metrics_makes_no_pass(tmp_path):
    run = nodelens.run(config(tmp_path, metrics=[]))
    assert run.read_json("capture.json")["passes"] == 0


def test_ctrl_c_leaves_a_run_that_says_interrupted(tmp_path, monkeypatch, capsys):
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nodelens.experiments.stages.evaluate", interrupt)
    assert main(["run", write(tmp_path, reports=["html"])]) == 130
    (folder,) = (tmp_path / "out/small").iterdir()
    run = RunFolder.open(folder)
    assert run.record().status == "interrupted"
    assert run.record().stages["evaluation"].status == "interrupted"
    assert "interrupted" in run.read_text("report.html")
    assert run.check_manifest() == []


def test_a_run_that_is_ended_while_a_stage_fails_says_how_that_stage_ended(tmp_path, monkeypatch):
    from nodelens.errors import DataError, RunError

    def fail(*args: object, **kwargs: object) -> None:
        raise DataError("the data is gone")

    write_record = RunFolder.write_record

    def end(self: RunFolder, record: RunRecord) -> None:
        if any(stage.status == "failed" for stage in record.stages.values()):
            monkeypatch.undo()
            raise RunError("terminated while the stage says that it failed")
        write_record(self, record)

    monkeypatch.setattr("nodelens.experiments.stages.evaluate", fail)
    monkeypatch.setattr(RunFolder, "write_record", end)
    assert main(["run", write(tmp_path)]) == 2
    (folder,) = (tmp_path / "out/small").iterdir()
    found = RunFolder.open(folder).record()
    assert (found.status, found.stages["evaluation"].status) == ("failed", "failed")
    assert "terminated" in found.error


def test_a_failure_is_recorded_and_told_without_a_traceback(tmp_path, monkeypatch, capsys):
    from nodelens.errors import DataError

    def fail(*args: object, **kwargs: object) -> None:
        raise DataError("the samples are not there; look in the cellar")

    monkeypatch.setattr("nodelens.experiments.stages.evaluate", fail)
    assert main(["run", write(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(
        "error: the samples are not there; look in the cellar\n"
    )
    (folder,) = (tmp_path / "out/small").iterdir()
    assert RunFolder.open(folder).record().error.startswith("the samples are not there")


def test_a_metric_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    from nodelens_metrics.activations.activity import ActivationRMS

    def broken(self: object, group: object) -> torch.Tensor:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(ActivationRMS, "score", broken)
    assert main(["-q", "run", write(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "metric activation_rms failed" in out
    assert "ZeroDivisionError: on purpose" in out
    (folder,) = (tmp_path / "out/small").iterdir()
    scores = nodelens.Scores.load(folder / "scores.safetensors")
    assert scores.metrics == ("taylor",)
    assert RunFolder.open(folder).record().status == "finished"


def test_a_device_that_is_not_there_is_found_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="device: cuda:9 is not there"):
        nodelens.run(config(tmp_path, device="cuda:9"))
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_an_error(tmp_path, capsys):
    (tmp_path / "out").write_text("in the way")
    assert main(["run", write(tmp_path)]) == 2
    assert "out" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "in the way"


def test_a_full_disk_leaves_no_half_written_artifact(tmp_path, monkeypatch):
    """The disk fills up when the scores are written."""
    real = os.replace

    def full(source: str, target: str) -> None:
        if str(target).endswith("scores.safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", lambda self, target: full(str(self), str(target)))
    with pytest.raises(RunError, match="no space left on the disk"):
        nodelens.run(config(tmp_path))
    (folder,) = (tmp_path / "out/small").iterdir()
    run = RunFolder.open(folder)
    assert run.record().status == "failed"
    assert not run.has("scores.safetensors")
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if "tmp" in name]


def test_a_model_that_does_not_fit_the_data_is_refused_in_words(tmp_path, capsys):
    data = {"name": "digits", "flat": True, "subset": 200}
    path = write(tmp_path, model={"name": "cnn"}, data=data)
    assert main(["run", path]) == 2
    error = capsys.readouterr().err
    assert "64" in error
    assert "Traceback" not in error


def test_a_sweep_makes_one_run_per_point(tmp_path):
    swept = config(tmp_path, sweep={"seed": [0, 1]})
    runs = nodelens.run_all(swept)
    assert [run.record().seed for run in runs] == [0, 1]
    with pytest.raises(ConfigError, match=r"sweeps over 2 runs; use nodelens\.run_all"):
        nodelens.run(swept)


def test_a_report_that_cannot_be_written_makes_the_run_failed(tmp_path, monkeypatch):
    def full(experiment: object) -> None:
        raise RunError("cannot write report.html: no space left on the disk")

    monkeypatch.setattr("nodelens.experiments.stages.write_reports", full)
    with pytest.raises(RunError, match="no space left"):
        nodelens.run(config(tmp_path))
    (folder,) = (tmp_path / "out/small").iterdir()
    run = RunFolder.open(folder)
    assert run.record().status == "failed"
    assert "no space left" in run.record().error
    assert run.check_manifest() == []


def test_fewer_samples_than_asked_for_are_told(tmp_path):
    run = nodelens.run(config(tmp_path, capture={"samples": 5000}))
    assert run.record().warnings == (
        "capture.samples asks for 5000; there are 140 training samples",
    )


def test_a_run_without_test_samples_is_refused_before_training(tmp_path):
    data = {**BASE["data"], "test_fraction": 0}
    with pytest.raises(DataError, match=r"data\.test_fraction is 0 and the dataset brings none"):
        nodelens.run(config(tmp_path, data=data, training={"epochs": 1}))
