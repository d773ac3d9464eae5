"""``nodelens config``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIG = "model: mlp\ndata: digits\nname: small\n"


@pytest.fixture
def config(nodelens):
    """Return the program, with a config in its folder."""
    Path("small.yaml").write_text(CONFIG)

    def run(*args):
        return nodelens("-q", "config", *args)

    return run


def test_check_says_what_the_config_stands_for(config):
    outcome = config("check", "small.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert " ".join(outcome.out.split()) == (
        "small.yaml: no mistakes; mlp on digits, "
        "1 run, 0 metrics, 0 evaluations, 0 interventions, 0 pruning methods"
    )


def test_check_counts_the_runs_of_a_sweep(config):
    assert "2 runs" in config("check", "small.yaml", "sweep.seed=[0, 1]").out


def test_mistakes_come_all_at_once_on_stderr(config):
    Path("bad.yaml").write_text("model: {name: mlp, hiden: [3]}\ndata: digits\nseeed: 1\n")
    outcome = config("check", "bad.yaml")
    assert (outcome.code, outcome.out) == (2, "")
    assert [line[:7] for line in outcome.err.splitlines()] == ["error: ", "error: "]
    assert "did you mean 'seed'?" in outcome.err
    assert "did you mean 'hidden'?" in outcome.err


def test_mistakes_of_every_run_of_a_sweep_are_reported_once(config):
    sweep = "sweep: {model.hidden: [[-1], [8], [-2]]}\n"
    Path("bad.yaml").write_text(f"{CONFIG}seeed: 1\n{sweep}")
    outcome = config("check", "bad.yaml")
    assert outcome.code == 2
    assert outcome.err.count("seeed") == 1
    assert len(outcome.err.splitlines()) == 3


def test_a_missing_file_is_a_mistake(config):
    outcome = config("check", "smal.yaml")
    assert outcome.code == 2
    assert outcome.err == "error: smal.yaml: there is no such config; did you mean 'small.yaml'?\n"


def test_a_missing_plugin_is_a_mistake(config):
    outcome = config("check", "small.yaml", "plugins=[acme>=3]")
    assert outcome.code == 2
    assert outcome.err.startswith("error: plugins: plugin acme is not installed")
    assert outcome.err.endswith("install it with: pip install 'acme>=3'\n")


def test_a_name_of_a_failed_plugin_says_what_failed(config, distribution):
    distribution("acme", "import not_there")
    outcome = config("check", "small.yaml", "metrics=[peak_of_acme]", "plugins=[acme]")
    assert outcome.code == 2
    assert (
        "not loaded: acme:main 1.0 failed: needs the module 'not_there', which is not installed"
        in outcome.err
    )


def test_show_prints_a_config_that_checks(config):
    shown = config("show", "small.yaml", "seed=3")
    assert "seed: 3\n" in shown.out
    Path("shown.yaml").write_text(shown.out)
    assert config("check", "shown.yaml").code == 0


def test_show_prints_a_sweep_as_documents(config):
    out = config("show", "small.yaml", "sweep.seed=[0, 1]").out
    assert [part.count("name: small-seed_") for part in out.split("---\n")] == [1, 1]


def test_schema_is_json_with_what_plugins_offer(config):
    schema = json.loads(config("schema").out)
    assert "digits" in json.dumps(schema["$defs"]["data"])


def test_bare_config_shows_its_commands(config):
    outcome = config()
    assert outcome.code == 0
    assert "schema  Print the JSON Schema of configs." in outcome.out


def test_a_missing_plugin_does_not_hide_the_other_mistakes(config, tmp_path):
    (tmp_path / "many.yaml").write_text("plugins: [acme]\nmodel: mlp\ndata: digit\nsed: 1\n")
    outcome = config("check", str(tmp_path / "many.yaml"))
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 3
    assert "plugin acme is not installed" in outcome.err
    assert "did you mean 'digits'?" in outcome.err
    assert "did you mean 'seed'?" in outcome.err
