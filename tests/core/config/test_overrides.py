"""Values from the command line on top of a config."""

from __future__ import annotations

import pytest

from nodelens.config.load import raw_from_mapping
from nodelens.errors import ConfigError

BASE = {
    "model": "cnn",
    "data": {"name": "digits", "batch_size": 64},
    "metrics": ["rms", "redundancy", {"name": "taylor", "power": 1}],
    "pruning": {"name": "taylor", "sparsity": 0.5},
    "reports": [],
}


def overridden(*overrides):
    return raw_from_mapping(BASE, overrides).value


def problems(*overrides):
    with pytest.raises(ConfigError) as caught:
        overridden(*overrides)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=3", "seed", 3),
        ("seed = 3", None, None),
        ("data.batch_size=128", "data", {"name": "digits", "batch_size": 128}),
        ("data.noise=1e-4", "data", {"name": "digits", "batch_size": 64, "noise": 1e-4}),
        ("model.channels=[8]", "model", {"name": "cnn", "channels": [8]}),
        ("model=mlp", "model", "mlp"),
        ("model={name: mlp, depth: 2}", "model", {"name": "mlp", "depth": 2}),
        ("training.epochs=5", "training", {"epochs": 5}),
        ("training=null", "training", None),
        ("training=", "training", None),
        ("name=no", "name", "no"),
        ("name='5'", "name", "5"),
        ("output=a=b", "output", "a=b"),
        ("pruning.sparsity=0.25", "pruning", {"name": "taylor", "sparsity": 0.25}),
        ("metrics=[rms]", "metrics", ["rms"]),
        ("sweep.training.epochs=[5, 10]", "sweep", {"training.epochs": [5, 10]}),
    ],
)
def test_an_override_replaces_one_value(override, key, value):
    raw = overridden(override)
    assert raw == ({**BASE, key: value} if key else {**BASE, "seed": 3})


def test_a_list_item_is_addressed_by_its_number():
    assert overridden("metrics.2.power=2")["metrics"][2] == {"name": "taylor", "power": 2}


def test_a_bare_name_in_a_list_becomes_a_mapping():
    metrics = overridden("metrics.1.top=5")["metrics"]
    assert metrics == ["rms", {"name": "redundancy", "top": 5}, {"name": "taylor", "power": 1}]


def test_later_overrides_win():
    assert overridden("seed=1", "seed=2")["seed"] == 2


def test_the_config_that_is_overridden_stays_as_it_was():
    raw = raw_from_mapping(BASE)
    overridden("metrics.2.power=9", "data.batch_size=1")
    assert raw.value == BASE


def test_errors_point_to_the_command_line():
    marks = raw_from_mapping(BASE, ["training.epochs=[1, {a: 2}]"]).marks
    for path in [("training",), ("training", "epochs"), ("training", "epochs", 1, "a")]:
        assert marks.of(path) == "command line: training.epochs=[1, {a: 2}]"
    assert marks.of(("model",)) == "config"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "an override is written key.path=value"),
        ("=3", "an override is written key.path=value"),
        ("training..epochs=3", "an override is written key.path=value"),
        ("sed=3", "'sed' is not a section; did you mean 'seed'?"),
        ("trainng.epochs=3", "'trainng' is not a section; did you mean 'training'?"),
        (
            "extends=a.yaml",
            "'extends' is not a section; known: analyses, capture, data, device, evaluations, "
            "interventions, loss, metrics, model, name, output, plugins, pruning, recovery, "
            "reports, seed, sweep, target, threads, training",
        ),
        ("metrics.3=x", "metrics is a list; its items are numbered, from 0 to 2, not '3'"),
        ("metrics.rms.top=5", "metrics is a list; its items are numbered, from 0 to 2, not 'rms'"),
        ("metrics.-1=x", "metrics is a list; its items are numbered, from 0 to 2, not '-1'"),
        ("reports.0=x", "reports is an empty list; give it whole: reports=[…]"),
        ("analyses.0=x", "analyses is an empty list; give it whole: analyses=[…]"),
        ("data.batch_size.x=1", "data.batch_size is 64, which has no 'x' inside"),
        ("metrics=[a", "the list that '[' opens here has no ']', or an item lacks its ','"),
        (
            "model=*_net",
            "'*_net' refers to no anchor '&_net'; text that starts with '*' needs quotes: "
            "write '*_net'",
        ),
    ],
)
def test_bad_overrides(override, message):
    assert problems(override) == [f"command line: {override}: {message}"]


def test_all_bad_overrides_are_reported_together():
    assert problems("sed=3", "seed=4", "metrics.9=x") == [
        "command line: sed=3: 'sed' is not a section; did you mean 'seed'?",
        "command line: metrics.9=x: metrics is a list; its items are numbered, "
        "from 0 to 2, not '9'",
    ]
