"""Captures that stop when the top nodes are stable."""

from __future__ import annotations

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import ConfigError

CONFIG = {
    "name": "stop_when",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [64]},
    "data": {"name": "digits", "flat": True, "batch_size": 32, "normalize": False},
    "training": {"epochs": 1},
    "capture": {"samples": 512, "folds": 4, "checkpoint_seconds": 0},
    "metrics": ["activation_rms", "weight_l2", "activation_mean", "taylor"],
    "reports": ["json"],
}


def run(folder, metric="activation_rms", **stop_when):
    settings = {"metric": metric, "top": 0.25, "min_overlap": 0.9, **stop_when}
    capture = {**CONFIG["capture"], "stop_when": settings}
    return nodelens.run({**CONFIG, "output": str(folder), "capture": capture})


def convergence(run):
    return next(each for each in run.findings() if each.name == "convergence")


def test_the_capture_stops_and_says_after_how_many_samples(tmp_path):
    done = run(tmp_path, min_overlap=0.8)
    found = convergence(done)
    samples = done.read_json("capture.json")["samples"]
    assert samples < 512
    assert found.data["reached"] is True
    assert found.data["samples"] == samples == found.data["curve"][-1]["samples"]
    assert found.headline[0].startswith(f"After {samples} of 512 samples the top 25 % by")
    assert nodelens.Scores.load(done.file("scores.safetensors")).samples == samples


def test_a_top_that_is_not_stable_is_told_with_its_curve(tmp_path):
    done = run(tmp_path, "taylor", min_overlap=1.0, top=0.6)
    found = convergence(done)
    assert found.data["reached"] is False
    looks = [each["samples"] for each in found.data["curve"]]
    assert looks == sorted(set(looks))
    assert looks[0] == 32
    assert looks[-1] == 512
    assert found.headline[0].startswith("All 512 samples were read and the top 60 %")
    assert "raise capture.samples" in found.warnings[0]
    (plot,) = found.plots
    assert plot.lines[0].x == tuple(map(float, looks))
    assert plot.lines[1].y == (1.0, 1.0)


def test_a_run_that_goes_on_sees_the_same_curve(tmp_path, monkeypatch):
    from nodelens.capture import engine

    whole = run(tmp_path / "whole", "taylor", min_overlap=1.0, top=0.6)
    real, calls = engine.read_batch, []

    def stop(*args):
        calls.append(1)
        if len(calls) == 9:
            raise ZeroDivisionError
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "read_batch", stop)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "stopped", "taylor", min_overlap=1.0, top=0.6)
    (folder,) = (tmp_path / "stopped/stop_when").iterdir()
    resumed = nodelens.run(resume=folder)
    assert resumed.record().resumed[0].origin.startswith("capture, pass 1, after 8 batches")
    assert convergence(resumed) == convergence(whole)
    files = [each.file("scores.safetensors").read_bytes() for each in (whole, resumed)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("weight_l2", "'weight_l2' reads no data, so that it is stable from the start"),
        ("activation_mean", "'activation_mean' does not say which nodes to keep"),
    ],
)
def test_metrics_that_cannot_stop_a_capture_are_refused(tmp_path, metric, message):
    with pytest.raises(ConfigError, match=r"capture\.stop_when\.metric: ") as raised:
        run(tmp_path, metric)
    assert message in str(raised.value)


def test_a_budget_that_divides_the_nodes_is_refused(tmp_path):
    capture = {
        **CONFIG["capture"],
        "memory_budget": "6KiB",
        "stop_when": {"metric": "activation_rms"},
    }
    hidden = {"name": "mlp", "hidden": [24, 24]}
    with pytest.raises(ConfigError, match=r"divides the nodes over \d passes, and the rule"):
        nodelens.run({**CONFIG, "output": str(tmp_path), "capture": capture, "model": hidden})


def test_the_metric_must_be_one_of_the_run(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(
        "model: mlp\ndata: digits\nmetrics: [taylor]\ncapture: {stop_when: {metric: tailor}}\n"
    )
    assert main(["config", "check", str(path)]) == 2
    assert (
        "c.yaml:4: capture.stop_when.metric: 'tailor' is not one of the run's metrics; "
        "did you mean 'taylor'?"
    ) in capsys.readouterr().err
