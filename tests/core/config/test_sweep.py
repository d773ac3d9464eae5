"""One config that stands for several runs."""

from __future__ import annotations

import pytest

from nodelens.config.check import check_config
from nodelens.config.load import raw_from_mapping
from nodelens.config.sweep import expand
from nodelens.errors import ConfigError

BASE = {"name": "digits", "model": "cnn", "data": "digits", "metrics": ["redundancy"]}


def runs(sweep, base=BASE):
    return expand(raw_from_mapping({**base, "sweep": sweep}))


def names(sweep, base=BASE):
    return [run.value["name"] for run in runs(sweep, base)]


def problems(raw):
    with pytest.raises(ConfigError) as caught:
        expand(raw)
    return list(caught.value.problems)


def test_without_a_sweep_there_is_one_run():
    raw = raw_from_mapping(BASE)
    assert expand(raw) == [raw]


def test_a_sweep_of_nothing_is_no_sweep():
    assert [run.value for run in runs(None)] == [BASE]


def test_a_sweep_is_the_product_with_the_last_key_turning_fastest():
    points = [
        (run.value["training"]["epochs"], run.value["seed"])
        for run in runs({"training.epochs": [5, 10], "seed": [0, 1]})
    ]
    assert points == [(5, 0), (5, 1), (10, 0), (10, 1)]


def test_no_run_keeps_the_sweep():
    assert all("sweep" not in run.value for run in runs({"seed": [0, 1]}))


@pytest.mark.parametrize(
    ("sweep", "suffixes"),
    [
        ({"training.epochs": [5, 10]}, ["epochs_5", "epochs_10"]),
        ({"training.epochs": [5], "seed": [0, 1]}, ["epochs_5-seed_0", "epochs_5-seed_1"]),
        ({"training.momentum": [0.5, 1e-05]}, ["momentum_0.5", "momentum_1e-05"]),
        ({"data.normalize": [True, False]}, ["normalize_true", "normalize_false"]),
        ({"training": [None, {"epochs": 5}]}, ["training_0", "training_1"]),
        ({"model": ["cnn", {"name": "mlp"}]}, ["model_cnn", "model_mlp"]),
        ({"model": ["cnn", {"name": "cnn", "channels": [8]}]}, ["model_0", "model_1"]),
        ({"model.channels": [[8], [8, 16]]}, ["channels_8", "channels_8_16"]),
        ({"output": ["a/b", "a b"]}, ["output_0", "output_1"]),
        ({"output": ["x" * 30]}, ["output_0"]),
        ({"metrics.0.top": [3], "pruning.top": [4]}, ["metrics.0.top_3-pruning.top_4"]),
    ],
)
def test_names_tell_the_point(sweep, suffixes):
    assert names(sweep) == [f"digits-{suffix}" for suffix in suffixes]


def test_a_run_without_a_name_gets_the_default_one():
    assert names({"seed": [3]}, {"model": "cnn", "data": "digits"}) == ["run-seed_3"]


def test_names_may_be_swept_themselves():
    assert names({"name": ["a", "b"], "seed": [1]}) == ["a-seed_1", "b-seed_1"]


def test_every_run_of_a_sweep_checks(registry):
    sweep = {"model": ["mlp", "cnn"], "metrics.0.top": [None, 3], "training.momentum": [0.5, 0]}
    configs = [check_config(run, registry) for run in runs(sweep)]
    assert len({config.name for config in configs}) == 8


def test_a_bad_value_is_placed_in_the_sweep(read, registry):
    text = "model: cnn\ndata: digits\nsweep:\n  seed:\n  - 0\n  - -1\n  training.epoch: [1]\n"
    with pytest.raises(ConfigError) as caught:
        check_config(expand(read(text))[1], registry)
    assert caught.value.problems == (
        "run.yaml:6: seed: expected a whole number of at least 0, got -1",
        "run.yaml:7: training.epoch: unknown key; did you mean 'epochs'?",
    )


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("{}", "sweep: expected a mapping such as {seed: [0, 1, 2]}"),
        ("[1]", "sweep: expected a mapping such as {seed: [0, 1, 2]}"),
        ("{seed: []}", "sweep.seed: expected a list with at least one value"),
        ("{seed: 3}", "sweep.seed: expected a list with at least one value"),
        ("{sed: [1]}", "sweep.sed: 'sed' is not a section; did you mean 'seed'?"),
        ("{plugins: [[a]]}", "sweep.plugins: is the same for all runs of a sweep"),
        (
            "{metrics.5.top: [1]}",
            "sweep.metrics.5.top: metrics is a list; its items are numbered, only 0, not '5'",
        ),
        (
            f"{{seed: {list(range(40))}, training.epochs: {list(range(1, 31))}}}",
            "sweep: makes 1,200 runs; at most 1,000 are allowed, so sweep over less",
        ),
    ],
)
def test_bad_sweeps(read, sweep, message):
    raw = read(f"model: cnn\ndata: digits\nmetrics: [rms]\nsweep: {sweep}\n")
    assert problems(raw) == [f"run.yaml:4: {message}"]


def test_all_bad_axes_are_reported_together(read):
    assert problems(read("sweep:\n  seed: []\n  extends: [a]\n  plugins.only: [a]\n")) == [
        "run.yaml:2: sweep.seed: expected a list with at least one value",
        "run.yaml:3: sweep.extends: is the same for all runs of a sweep",
        "run.yaml:4: sweep.plugins.only: is the same for all runs of a sweep",
    ]
