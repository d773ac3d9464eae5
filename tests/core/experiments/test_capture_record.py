"""The record of a capture: the loss, and the fraction of the positions that was read."""

from __future__ import annotations

import pytest

import nodelens

CONFIG = {
    "name": "small",
    "threads": 1,
    "model": {"name": "cnn", "channels": [4, 6]},
    "data": {"name": "digits", "subset": 300, "batch_size": 32},
    "training": {"epochs": 1},
    "capture": {"samples": 128, "folds": 4, "position_fraction": 0.25},
    "metrics": ["activation_rms", "taylor", "redundancy"],
    "reports": ["json", "html"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return nodelens.run({**CONFIG, "output": str(tmp_path_factory.mktemp("runs"))})


def test_the_mean_loss_of_the_calibration_samples_is_in_record_and_report(run):
    summary, loss = run.record().summary, run.read_json("capture.json")["loss"]
    assert summary["calibration_loss"] == loss["mean"]
    assert summary["calibration_loss_se"] == loss["se"] > 0.0
    assert loss["rows"] == 128
    assert 0.5 < loss["mean"] / summary["test_loss"] < 2.0
    assert "calibration loss" in run.read_text("report.html")


def test_a_run_without_gradients_has_no_loss(tmp_path):
    config = {**CONFIG, "metrics": ["activation_rms"], "output": str(tmp_path)}
    done = nodelens.run(config)
    assert done.read_json("capture.json")["loss"] is None
    assert "calibration_loss" not in done.record().summary
    assert done.read_json("capture.json")["position_fraction"] is None


def test_the_record_counts_the_positions_of_every_place(run):
    positions = run.read_json("capture.json")["position_fraction"]
    assert positions["fraction"] == 0.25
    assert positions["positions"].keys() == positions["used"].keys()
    share = sum(positions["used"].values()) / sum(positions["positions"].values())
    assert share == pytest.approx(0.25, abs=0.03)
    assert positions["errors_up_to"] == pytest.approx(share**-0.5)


def test_the_report_says_what_the_share_costs(run):
    found = next(each for each in run.findings() if each.name == "positions")
    assert found.title == "What pairs of nodes were taken from"
    seen, errors = found.headline
    assert seen.startswith("Products of pairs of nodes read ")
    assert seen.endswith(" positions, over all places (capture.position_fraction: 0.25).")
    assert errors.startswith(f"Their standard errors are up to {found.data['errors_up_to']:.2f}")
    assert "What pairs of nodes were taken from" in run.read_text("report.html")


def test_a_share_of_fewer_positions_than_nodes_is_warned_of(tmp_path):
    model, capture = (
        {"name": "mlp", "hidden": [40, 5]},
        {**CONFIG["capture"], "position_fraction": 0.2},
    )
    data = {**CONFIG["data"], "flat": True}
    config = {**CONFIG, "model": model, "data": data, "capture": capture}
    done = nodelens.run({**config, "output": str(tmp_path)})
    found = next(each for each in done.findings() if each.name == "positions")
    (warning,) = found.warnings
    assert warning.startswith("1 places have fewer of these positions than nodes, the first is ")
    assert " for 40): their covariances have no inverse; raise capture.position_fraction" in warning
