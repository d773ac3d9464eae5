"""Patterns in place of metrics: what they take, what they leave out, and where that is said."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import nodelens
from nodelens.errors import ConfigError, DataError, RunError, UnknownNameError
from nodelens.plugins.manager import load_plugins
from nodelens.scoring.scores import Scores

CONFIG = {
    "model": {"name": "mlp", "hidden": [6]},
    "data": {"name": "digits", "flat": True, "subset": 120},
    "capture": {"samples": 32, "folds": 2},
    "metrics": ["block_*", "hrank*", "outgoing_l*", {"name": "outgoing_l1"}],
    "reports": ["json"],
}
NO_BLOCK = "there is no block from a residual stream to itself"


@pytest.fixture
def run(tmp_path):
    return nodelens.run(CONFIG | {"output": str(tmp_path / "out")})


def test_a_run_scores_what_fits_in_order(run):
    scores = Scores.load(run.path / "scores.safetensors")
    assert scores.metrics == ("outgoing_l2", "outgoing_linf", "outgoing_l1")


def test_the_record_and_the_report_say_what_was_left_out_and_why(run):
    patterns = run.record().patterns
    assert patterns.asked == ["block_*", "hrank*", "outgoing_l*", "outgoing_l1"]
    assert patterns.taken == ("hrank", "outgoing_l2", "outgoing_linf")
    assert patterns.left_out["block_influence"] == NO_BLOCK
    no_maps = "no group can be scored; hidden.0.linear:neurons: what the next layer reads"
    assert patterns.left_out["hrank"].startswith(no_maps)
    assert run.read_json("summary.json")["left_out"] == patterns.left_out
    assert f"metric block_influence is left out: {NO_BLOCK}" in run.read_text("run.log")
    named = {"hrank", "outgoing_l1", "outgoing_l2", "outgoing_linf"}
    assert run.record().components["metric"].keys() == named


def test_the_config_of_the_run_names_the_metrics_and_runs_again(run, tmp_path):
    text = run.config_file().read_text()
    assert "outgoing_*" not in text
    again = nodelens.run(run.config_file(), f"output={tmp_path / 'again'}")
    one, two = (each.path / "scores.safetensors" for each in (run, again))
    assert one.read_bytes() == two.read_bytes()
    assert again.config_file().read_text().replace("again", "out") == text


def interrupted(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nodelens.experiments.stages.score_nodes", fail)
        with pytest.raises(KeyboardInterrupt):
            nodelens.run(CONFIG | {"output": str(tmp_path / "out")})
    (folder,) = (tmp_path / "out/run").iterdir()
    return folder


@pytest.mark.parametrize("config", [None, CONFIG])
def test_an_interrupted_run_goes_on_with_and_without_its_config(tmp_path, monkeypatch, config):
    folder = interrupted(tmp_path, monkeypatch)
    config = config and config | {"output": str(tmp_path / "out")}
    run = nodelens.run(config, resume=folder)
    assert run.record().status == "finished"
    assert run.record().patterns.left_out.keys() == {"block_influence", "hrank"}


def test_a_run_does_not_go_on_with_other_metrics(tmp_path, monkeypatch):
    folder = interrupted(tmp_path, monkeypatch)
    record = json.loads((folder / "run.json").read_text())
    record["patterns"]["taken"].remove("outgoing_l2")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"took other metrics when the run started \(outgoing_l2\)"):
        nodelens.run(CONFIG | {"output": str(tmp_path / "out")}, resume=folder)


def test_other_patterns_are_another_config(tmp_path, monkeypatch):
    folder = interrupted(tmp_path, monkeypatch)
    other = CONFIG | {"output": str(tmp_path / "out"), "metrics": ["outgoing_l*"]}
    with pytest.raises(RunError, match="the config has changed since the run started: metrics was"):
        nodelens.run(other, resume=folder)


def test_a_stopping_rule_by_a_metric_that_is_left_out_is_an_error(tmp_path):
    capture = {"samples": 32, "folds": 2, "stop_when": {"metric": "next_layer_information"}}
    config = CONFIG | {"output": str(tmp_path), "capture": capture, "metrics": ["next_*"]}
    reason = "fewer than two groups can be read"
    with pytest.raises(ConfigError, match=f"'next_layer_information' is left out: {reason}; name"):
        nodelens.run(config)


def test_the_metric_of_a_pruner_has_to_fit(tmp_path):
    pruning = {"name": "by_score", "metric": "outgoing_l2"}
    run = nodelens.run(CONFIG | {"output": str(tmp_path), "pruning": pruning})
    assert "outgoing_l2" not in run.record().patterns.taken


G = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 5, generator=G), torch.randint(0, 3, (40,), generator=G)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def test_scores_from_python_say_why_metrics_are_left_out(model):
    asked = [{"name": "activation_quantile", "q": 0.5}, "activation_*", "first_*", "fisher_*"]
    scores = nodelens.score(model, [X], [*asked, "compos*"])
    assert scores.metrics[0] == "activation_quantile"
    assert list(scores.metrics[1:]) == sorted(scores.metrics[1:])
    assert "activation_rms" in scores.metrics
    assert scores.skipped["first_order", "0:neurons"] == (
        "needs labels: give batches of (inputs, targets)"
    )
    assert scores.skipped["fisher_ratio", "0:neurons"].startswith("class metrics need labels")
    assert scores.skipped["composite", "0:neurons"].startswith("the key 'parts' is missing")


def test_every_metric_scores_a_model_with_labels_or_says_why_not(model):
    scores = nodelens.score(model, [(X, Y)], ["*"])
    assert not scores.failed
    asked = {*scores.metrics, *scores.layer_metrics, *(name for name, _ in scores.skipped)}
    assert asked == set(load_plugins().registry.names("metric"))
    assert scores.skipped["block_influence", "0:neurons"] == NO_BLOCK


def test_no_metric_of_a_loss_is_taken_for_a_model_without_predictions():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(5, 7), nn.Linear(7, 3)

        def forward(self, x):
            return {"vectors": self.down(torch.relu(self.up(x)))}

    scores = nodelens.score(Encoder(), [(X, Y)], ["taylor*", "weight_l1", "conduct*"])
    assert scores.metrics == ("weight_l1",)
    assert scores.skipped["taylor", "up:neurons"].startswith(
        "needs a loss, and this model makes no"
    )
    assert "conductance" in {name for name, _ in scores.skipped}


def test_nothing_that_fits_is_an_error(model):
    with pytest.raises(ConfigError, match="nothing that the patterns match fits: block_influence:"):
        nodelens.score(model, [X], ["block_*"])


def test_a_pattern_that_matches_nothing_is_an_error(model):
    with pytest.raises(UnknownNameError, match="did you mean 'information'"):
        nodelens.score(model, [X], ["family:informaton"])


def test_a_metric_named_outright_that_does_not_fit_stays_an_error(model):
    with pytest.raises(DataError, match="gradient metrics need labels"):
        nodelens.score(model, [X], ["weight_*", "taylor"])


def test_a_pattern_takes_no_options_in_python():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    asked = [{"name": "weight_*", "top": 3}]
    with pytest.raises(ConfigError, match="the pattern 'weight_\\*' takes no options and no label"):
        nodelens.score(model, [torch.randn(4, 4)], asked)


def test_a_method_ranks_by_a_metric_with_a_label(tmp_path):
    metrics = [{"name": "weight_l2", "label": "size"}]
    pruning = {"name": "by_score", "metric": "size"}
    given = CONFIG | {"output": str(tmp_path), "metrics": metrics, "pruning": pruning}
    assert nodelens.run(given).record().status == "finished"
