"""Runs with metrics of layers and with metrics that are made of others."""

from __future__ import annotations

import csv
import io
import json

import pytest

import nodelens
from nodelens.cli.main import main
from nodelens.errors import ConfigError

SOURCE = '''
from attrs import evolve, frozen
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.moments import Moments

@hookimpl
def nodelens_register_metrics():
    classes = {"plain": "Plain", "depth": "Depth", "made": "Made", "lost": "Lost", "round": "Round"}
    return [MetricSpec(name, f"acme:{cls}", "A metric.") for name, cls in classes.items()]

@frozen
class Plain:
    """The mean."""

    info = MetricInfo(formula="E[a]", unit="1", higher_is_better=True)
    statistics = (Moments(),)

    def score(self, group):
        return group[Moments()].mean

@frozen
class Depth(Plain):
    """The mean of a layer."""

    info = evolve(Plain.info, level="layer")

    def score(self, group):
        return group[Moments()].mean.mean().unsqueeze(0)

@frozen
class Made(Plain):
    """Twice the mean."""

    statistics = ()
    depends_on = ("plain",)

    def score(self, group):
        return 2 * group.metric("plain")

@frozen
class Lost(Made):
    """Made of nothing that there is."""

    depends_on = ("plane",)

@frozen
class Round(Made):
    """Made of itself."""

    depends_on = ("round",)
'''


@pytest.fixture(autouse=True)
def acme(distribution):
    distribution("acme", SOURCE)


def config(tmp_path, *metrics, **capture):
    return {
        "threads": 1,
        "model": {"name": "mlp", "hidden": [6]},
        "data": {"name": "digits", "flat": True, "subset": 200},
        "capture": {"samples": 64, "folds": 4, **capture},
        "metrics": list(metrics),
        "reports": ["html", "json"],
        "output": str(tmp_path / "out"),
    }


def test_layer_metrics_have_a_file_and_a_table_of_their_own(tmp_path):
    run = nodelens.run(config(tmp_path, "plain", "depth"))
    scores = nodelens.Scores.load(run.file("scores.safetensors"))
    ((metric, group),) = scores.layers
    (row,) = csv.DictReader(io.StringIO(run.read_text("layers.csv")))
    assert (row["metric"], row["group"]) == (metric, group) == ("depth", group)
    assert float(row["value"]) == scores.layers[metric, group].values[0]
    assert float(row["se"]) > 0
    assert '<p class="table-title">Layers</p>' in run.read_text("report.html")
    assert "depth" not in run.read_text("scores.csv")
    assert run.record().summary["metrics"] == 2


def test_what_a_metric_is_made_of_joins_the_run(tmp_path):
    run = nodelens.run(config(tmp_path, "made"))
    scores = nodelens.Scores.load(run.file("scores.safetensors"))
    assert scores.metrics == ("made", "plain")
    (group,) = scores.groups
    assert (scores["made", group].values == 2 * scores["plain", group].values).all()


def test_a_stopping_rule_may_go_by_a_metric_that_is_made_of_others(tmp_path):
    stop_when = {"metric": "made", "top": 0.5, "min_overlap": 0.5}
    run = nodelens.run(config(tmp_path, "made", stop_when=stop_when))
    assert any(each.name == "convergence" for each in run.findings())


def test_a_layer_metric_cannot_stop_a_capture(tmp_path):
    with pytest.raises(ConfigError, match="'depth' describes layers and ranks no nodes"):
        nodelens.run(config(tmp_path, "depth", stop_when={"metric": "depth"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "metrics: 'lost' is made of 'plane', which is no metric; did you mean 'plain'?"),
        ("round", "metrics: round -> round: made of each other in a circle; take one out"),
    ],
)
def test_wrong_parts_are_found_by_the_check(tmp_path, capsys, name, message):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config(tmp_path, name)))
    assert main(["-q", "config", "check", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_the_notes_of_a_small_budget_are_in_the_run_and_its_report(tmp_path):
    small = config(tmp_path, "plain", memory_budget="1.1KiB")
    small["model"]["hidden"] = [12, 10]
    run = nodelens.run(small)
    (note,) = run.read_json("capture.json")["notes"]
    assert note == "the data is read 2 times to fit the memory"
    assert "The data is read 2 times to fit the memory." in run.read_text("report.html")
    assert run.read_json("capture.json")["peak_bytes"] <= 1.1 * 1024
