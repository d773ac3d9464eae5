"""The configs that come with the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodelens.cli.main import main
from nodelens.plugins.manager import load_plugins
from nodelens.scoring.scores import Scores

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PRETRAINED = sorted((ROOT / "configs/pretrained").glob("*.yaml"))
SMALL = {
    "bytes.yaml": (
        *("training.epochs=1", "data.windows=48", "data.window=48", "data.batch_size=32"),
        *("capture.samples=16", "capture.folds=4", "recovery.steps=5"),
        *("model.config.num_hidden_layers=2", "model.config.hidden_size=48"),
        "model.config.intermediate_size=64",
    ),
    "every_metric.yaml": ("training.epochs=1", "capture.samples=128"),
}
"""What makes a run of minutes one of seconds."""
METRICS = load_plugins().registry.names("metric")


@pytest.mark.parametrize("path", [*CONFIGS, *PRETRAINED], ids=lambda path: path.name)
def test_starts_with_the_command_that_runs_it(path):
    place = path.relative_to(ROOT)
    assert path.read_text().splitlines()[0] == f"# nodelens run {place}"


@pytest.mark.parametrize("path", [*CONFIGS, *PRETRAINED], ids=lambda path: path.name)
def test_has_no_mistake(path, capsys):
    assert main(["config", "check", str(path)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_runs(path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    overrides = [f"output={tmp_path}", *SMALL.get(path.name, ())]
    assert main(["-q", "run", str(path), *overrides]) == 0, capsys.readouterr().err
    (report,) = tmp_path.glob("*/*/report.html")
    assert report.stat().st_size > 20_000


def test_two_runs_with_one_seed_give_identical_scores_and_findings(tmp_path):
    for name in ("one", "two"):
        overrides = [f"output={tmp_path / name}", "training.epochs=1", "reports=[]"]
        assert main(["-q", "run", str(ROOT / "configs/digits.yaml"), *overrides]) == 0
    one, two = (
        next(tmp_path.glob(f"{name}/*/*/scores.safetensors")).parent for name in ("one", "two")
    )
    assert (one / "scores.safetensors").read_bytes() == (two / "scores.safetensors").read_bytes()
    found = [path.name for path in (one / "findings").iterdir()]
    assert len(found) == 8
    for name in found:
        assert (one / "findings" / name).read_text() == (two / "findings" / name).read_text(), name


def test_another_seed_gives_other_scores(tmp_path):
    contents = set()
    for seed in (0, 1):
        out = tmp_path / str(seed)
        overrides = [
            f"output={out}",
            f"seed={seed}",
            "training.epochs=1",
            "interventions=[]",
            "analyses=[]",
            "reports=[]",
        ]
        assert main(["-q", "run", str(ROOT / "configs/digits.yaml"), *overrides]) == 0
        contents.add(next(out.glob("*/*/scores.safetensors")).read_bytes())
    assert len(contents) == 2


def test_one_config_scores_by_every_metric_that_applies_to_a_cnn(tmp_path):
    config = ROOT / "configs/every_metric.yaml"
    small = ["training.epochs=1", "capture.samples=128", "analyses=[]", "reports=[]"]
    assert main(["-q", "run", str(config), f"output={tmp_path}", *small]) == 0
    (stored,) = tmp_path.glob("*/*/scores.safetensors")
    scores = Scores.load(stored)
    assert not scores.failed
    record = json.loads((stored.parent / "run.json").read_text(encoding="utf-8"))
    left_out = record["patterns"]["left_out"]
    assert left_out == {"block_influence": "there is no block from a residual stream to itself"}
    assert {*scores.metrics, *scores.layer_metrics} == {*METRICS} - {*left_out}
    passes = json.loads((stored.parent / "capture.json").read_text(encoding="utf-8"))
    assert passes["passes"] == 6  # the shared one, and those of conductance, GraSP and Hessians
