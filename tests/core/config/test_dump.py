"""A resolved run as YAML, and back."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodelens.config.check import check_config
from nodelens.config.dump import to_mapping, to_yaml
from nodelens.config.load import raw_from_mapping
from nodelens.config.raw import RawConfig
from nodelens.config.schema import Component, DataSettings, PluginSettings, RunConfig
from nodelens.config.yaml12 import parse

MOST = 2**63 - 1
NAMES = st.from_regex(r"[A-Za-z0-9][\w.-]*", fullmatch=True)
ODD = ["no", "1e-4", "0o14", "0x1f", "012", "1:30", "~", "null", "<<", "=", "#", "2024-01-31"]
MARKUP = ["-", "- a", "a: b", " a ", "&a", "*a", "!a", "%a", "@a", "[a", "{a"]
TEXT = st.sampled_from([*ODD, *MARKUP]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
FRACTIONS = st.floats(0, 1, exclude_max=True)
NUMBERS = st.floats(allow_nan=False)


def optional(strategy):
    return st.none() | strategy


def mapping(name, **options):
    return st.fixed_dictionaries({"name": st.just(name)}, optional=options)


MODELS = st.sampled_from(["cnn", "mlp"]) | mapping(
    "cnn",
    channels=st.lists(st.integers(1, MOST), min_size=1, max_size=4),
    activation=st.sampled_from(["relu", "gelu"]),
)
SETTINGS = {
    "batch_size": st.integers(1, MOST),
    "test_fraction": FRACTIONS,
    "subset": optional(st.integers(1, MOST)),
    "normalize": st.booleans(),
}
DATA = (
    st.just("digits")
    | mapping("digits", noise=st.floats(0, 1), **SETTINGS)
    | st.builds(
        lambda path, rest: {**rest, "path": path},
        TEXT,
        mapping(
            "files",
            columns=optional(st.tuples(TEXT, st.integers(-MOST, MOST))),
            names=st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
                st.integers(-MOST, MOST),
                max_size=3,
            ),
        ),
    )
)
REDUNDANCY = mapping("redundancy", scale=NUMBERS, top=optional(st.integers(1, MOST)))
METRICS = st.lists(
    st.sampled_from(["rms", "taylor"]) | REDUNDANCY,
    unique_by=lambda metric: metric if isinstance(metric, str) else metric["name"],
)
PRUNING = st.lists(
    st.builds(
        lambda label, rest: {**rest, "label": label},
        NAMES,
        mapping("taylor", sparsity=FRACTIONS, budget=optional(st.just({"nodes": 3}))),
    ),
    unique_by=lambda pruner: pruner["label"],
    max_size=1,
)
CONFIGS = st.fixed_dictionaries(
    {"model": MODELS, "data": DATA},
    optional={
        "name": NAMES,
        "seed": st.integers(0, MOST),
        "device": st.sampled_from(["auto", "cpu", "cuda:3"]),
        "output": TEXT,
        "plugins": st.sampled_from([["a>=0.1"], {"disable": ["b"]}]),
        "training": optional(st.fixed_dictionaries({}, optional={"epochs": st.integers(1, MOST)})),
        "capture": st.fixed_dictionaries({}, optional={"samples": optional(st.integers(1, MOST))}),
        "metrics": METRICS,
        "analyses": st.sampled_from([[], "clusters", ["agreement", "clusters"]]),
        "pruning": PRUNING,
        "reports": st.sampled_from([[], ["html"], None]),
    },
)


def loaded(text, registry):
    value, marks = parse(text, lambda line: f"dump:{line}")
    return check_config(RawConfig(value, marks), registry)


@given(CONFIGS)
def test_a_dumped_run_loads_to_an_equal_run(registry, mapping):
    config = check_config(raw_from_mapping(mapping), registry)
    assert loaded(to_yaml(config), registry) == config


@given(CONFIGS)
def test_other_yaml_readers_see_the_same_text(registry, mapping):
    config = check_config(raw_from_mapping(mapping), registry)
    assert yaml.safe_load(to_yaml(config)) == to_mapping(config)


BREAKS = ["\x85", "a\u2028b", "\u2029", "a\nb", "\n", " \n a\r\n", "\x0b"]


@pytest.mark.parametrize("text", [*BREAKS, "\ufeff", "\t", "a " * 120, "é" * 300])
def test_awkward_text_survives(registry, text):
    raw = raw_from_mapping({"model": "cnn", "data": "digits", "output": text})
    config = check_config(raw, registry)
    assert loaded(to_yaml(config), registry) == config


def test_the_dump_is_written_for_people(registry):
    raw = raw_from_mapping(
        {
            "model": {"name": "cnn", "channels": [8]},
            "data": {"name": "digits", "batch_size": 64},
            "plugins": {"disable": ["other"]},
            "metrics": ["rms", {"name": "redundancy", "label": "no"}],
        }
    )
    assert to_yaml(check_config(raw, registry)) == (
        "name: run\n"
        "seed: 0\n"
        "device: auto\n"
        "threads: null\n"
        "output: outputs\n"
        "plugins:\n"
        "  disable: [other]\n"
        "model:\n"
        "  name: cnn\n"
        "  channels: [8]\n"
        "  activation: relu\n"
        "data:\n"
        "  name: digits\n"
        "  noise: 0.0\n"
        "  batch_size: 64\n"
        "  test_fraction: 0.2\n"
        "  validation_fraction: 0.1\n"
        "  subset: null\n"
        "  normalize: true\n"
        "loss: null\n"
        "target: null\n"
        "training: null\n"
        "capture:\n"
        "  samples: 1024\n"
        "  folds: 8\n"
        "  balanced: false\n"
        "  memory_budget: 2GiB\n"
        "  position_fraction: 1.0\n"
        "  stop_when: null\n"
        "  seed: null\n"
        "  checkpoint_seconds: 60.0\n"
        "metrics:\n"
        "- rms\n"
        "- {name: redundancy, label: 'no', top: 10, scale: 1.0, centred: true}\n"
        "analyses: []\n"
        "evaluations: []\n"
        "interventions: []\n"
        "pruning: []\n"
        "recovery: []\n"
        "reports: [html, json]\n"
    )


def test_a_run_built_in_python_is_dumped_too():
    config = RunConfig(
        model=Component("cnn", {"channels": (8, 16)}),
        data=DataSettings(Component("digits")),
        plugins=PluginSettings(),
    )
    mapping = to_mapping(config)
    assert mapping["model"] == {"name": "cnn", "channels": [8, 16]}
    assert mapping["reports"] == ["html", "json"]
    assert "plugins" not in mapping
