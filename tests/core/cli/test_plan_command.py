"""What a run would read, how often, and in how much memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIG = """
name: small
model: {name: mlp, hidden: [24, 20]}
data: {name: digits, flat: true, subset: 200}
capture: {samples: 64, folds: 8}
metrics: [activation_rms, taylor, rayleigh_quotient]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_a_plan_fits_eighty_columns_and_says_what_is_read(nodelens, config):
    outcome = nodelens("plan", config)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "  passes   1, forward and backward" in lines
    assert "  folds    8" in lines
    assert any(line.startswith("  memory   ") and "(2.0 GiB allowed)" in line for line in lines)
    assert "Nodes" in lines
    assert any("Moments()" in line for line in lines)
    assert not (Path.cwd() / "outputs").exists()


def test_a_small_budget_is_told_with_what_it_changes(nodelens, config):
    outcome = nodelens("plan", config, "capture.memory_budget=20KiB")
    assert "To fit the memory\n  - " in outcome.out
    assert "the data is read" in outcome.out
    assert ", pass 2" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_the_json_holds_everything(nodelens, config):
    (plan,) = json.loads(nodelens("plan", config, "capture.memory_budget=20KiB", "--json").out)
    assert plan["memory_budget"] == 20 * 1024
    assert plan["peak_bytes"] <= plan["memory_budget"] < plan["bytes"]
    assert plan["notes"]
    assert {place["pass"] for place in plan["places"]} == set(range(1, plan["passes"] + 1))
    assert sum(place["bytes"] for place in plan["places"]) == plan["bytes"]
    each = [s for place in plan["places"] for s in place["statistics"]]
    assert all({"statistic", "at", "folds", "bytes"} <= s.keys() for s in each)
    assert [metric["level"] for metric in plan["metrics"]] == ["node"] * 3


def test_what_patterns_take_and_leave_out_is_told(nodelens, config):
    asked = "metrics=[activation_rms, 'weight_l*', 'block_*', 'compos*']"
    outcome = nodelens("plan", config, asked)
    assert "Taken by patterns\n  weight_l1, weight_l2, weight_linf\n" in outcome.out
    assert "Left out by patterns\n  block_influence: there is no block" in outcome.out
    assert "  composite: the key 'parts' is missing" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    (plan,) = json.loads(nodelens("plan", config, asked, "--json").out)
    assert [metric["name"] for metric in plan["metrics"]] == [
        *("activation_rms", "weight_l1", "weight_l2", "weight_linf"),
    ]
    assert plan["patterns"]["left_out"].keys() == {"block_influence", "composite"}


def test_a_stopping_rule_is_told(nodelens, config):
    out = nodelens("plan", config, "capture.stop_when={metric: taylor}").out
    assert "once the top 10% by taylor overlaps by 0.95" in out


def test_a_budget_that_is_too_small_is_a_mistake(nodelens, config):
    outcome = nodelens("plan", config, "capture.memory_budget=1KiB")
    assert outcome.code == 2
    assert "error: memory_budget: " in outcome.err
    assert "the budget is 1.0 KiB; raise it" in outcome.err


def test_a_share_of_the_positions_is_told_with_what_it_costs(nodelens, config):
    pairs = ["metrics=[activation_rms, redundancy]", "capture.position_fraction=0.125"]
    outcome = nodelens("plan", config, *pairs)
    lines = outcome.out.splitlines()
    (told,) = (line for line in lines if line.startswith("  positions "))
    assert told.endswith("0.125 of them for pairs of nodes; errors up to 2.83 times as wide")
    assert any("Gram(" in line and line.endswith(" of 0.125") for line in lines)
    assert not any("Moments(" in line and " of 0.125" in line for line in lines)
    assert max(map(len, lines)) <= 80
    (plan,) = json.loads(nodelens("plan", config, *pairs, "--json").out)
    assert plan["position_fraction"] == {"fraction": 0.125, "used": True, "errors_up_to": 8**0.5}


def test_a_share_that_nothing_is_taken_from_is_told(nodelens, config):
    out = nodelens("plan", config, "metrics=[activation_rms]", "capture.position_fraction=0.5").out
    assert "0.5 requested; no metric takes products of pairs of nodes" in out


@pytest.mark.parametrize("share", ["0", "1.5", "half"])
def test_a_share_that_is_none_is_a_mistake(nodelens, config, share):
    outcome = nodelens("plan", config, f"capture.position_fraction={share}")
    assert outcome.code == 2
    assert "capture.position_fraction" in outcome.err


def test_the_loss_is_a_place_of_its_own(nodelens, config):
    out = nodelens("plan", config).out
    assert "The loss of each row\n  (model) (loss): 2 wide" in out
