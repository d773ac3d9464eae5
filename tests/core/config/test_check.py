"""The check: every mistake at once, each with its place, its path and a sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nodelens.config.check import check_config, plugin_settings
from nodelens.config.load import raw_from_mapping
from nodelens.config.plugin_requirements import EXPECTED
from nodelens.config.schema import (
    CaptureSettings,
    Component,
    DataSettings,
    PluginSettings,
    RunConfig,
    TrainingSettings,
)
from nodelens.errors import ConfigError

NET = Component("cnn", {"channels": [16, 32], "activation": "relu"})
REDUNDANCY = {"top": 10, "scale": 1.0, "centred": True}


def problems(raw, registry):
    with pytest.raises(ConfigError) as caught:
        check_config(raw, registry)
    return list(caught.value.problems)


def test_the_smallest_config_has_all_defaults(read, registry):
    config = check_config(read("model: cnn\ndata: digits\n"), registry)
    assert config == RunConfig(
        model=NET,
        data=DataSettings(Component("digits", {"noise": 0.0})),
        capture=CaptureSettings(),
        reports=(Component("html"), Component("json")),
    )


def test_every_section_is_read(read, registry):
    config = check_config(
        read(
            "name: digits\nseed: 3\ndevice: cuda:1\noutput: out\n"
            "plugins: [nodelens-metrics, nodelens-pruning>=0.1]\n"
            "model: {name: cnn, channels: [8]}\n"
            "data: {name: digits, batch_size: 64, noise: 1, subset: null}\n"
            "training: {epochs: 5, learning_rate: 1, optimizer: sgd}\n"
            "capture: {samples: null, folds: 4}\n"
            "metrics: [rms, {name: redundancy, top: null}]\n"
            "analyses: agreement\n"
            "interventions: {name: ablation, fractions: [0.2]}\n"
            "pruning:\n- {name: taylor, sparsity: 0.25, budget: {nodes: 3}}\n"
            "- {name: taylor, label: harder, sparsity: 0}\n"
            "reports: []\n"
        ),
        registry,
    )
    assert config == RunConfig(
        name="digits",
        seed=3,
        device="cuda:1",
        output="out",
        plugins=PluginSettings(only=("nodelens-metrics", "nodelens-pruning>=0.1")),
        model=Component("cnn", {"channels": [8], "activation": "relu"}),
        data=DataSettings(Component("digits", {"noise": 1.0}), batch_size=64),
        training=TrainingSettings(epochs=5, learning_rate=1.0, optimizer="sgd"),
        capture=CaptureSettings(samples=None, folds=4),
        metrics=(Component("rms"), Component("redundancy", {**REDUNDANCY, "top": None})),
        analyses=(Component("agreement"),),
        interventions=(Component("ablation", {"fractions": [0.2]}),),
        pruning=(
            Component("taylor", {"sparsity": 0.25, "budget": {"nodes": 3}}),
            Component("taylor", {"sparsity": 0.0, "budget": None}, "harder"),
        ),
        reports=(),
    )


def test_a_label_is_the_name_in_results():
    assert Component("taylor").result_name == "taylor"
    assert Component("nodelens-metrics:taylor").result_name == "taylor"
    assert Component("taylor", {}, "harder").result_name == "harder"


BAD = [
    (
        "analyses: 3",
        "analyses: expected an analysis: a name, or a mapping with 'name', got 3",
    ),
    (
        "seed: '5'",
        "seed: expected a whole number of at least 0, got the text '5'; take the quotes away",
    ),
    ("seed: five", "seed: expected a whole number of at least 0, got the text 'five'"),
    ("seed: 5.0", "seed: expected a whole number of at least 0, got 5.0; write 5"),
    ("seed: 5.5", "seed: expected a whole number of at least 0, got 5.5"),
    ("seed: true", "seed: expected a whole number of at least 0, got true"),
    ("seed: -1", "seed: expected a whole number of at least 0, got -1"),
    ("seed:", "seed: expected a whole number of at least 0, got nothing"),
    ("seed: [1]", "seed: expected a whole number of at least 0, got a list of 1 item"),
    (
        "name: my run",
        "name: expected a name of letters, digits, '.', '_' and '-', got the text 'my run'",
    ),
    (
        "name: 3",
        "name: expected a name of letters, digits, '.', '_' and '-', got 3; put it in quotes",
    ),
    ("device: gpu", "device: expected auto, cpu, cuda or cuda:N, got the text 'gpu'"),
    ("output: ''", "output: expected text that is not empty, got the text ''"),
    ("metricz: [rms]", "metricz: unknown key; did you mean 'metrics'?"),
    (
        "sweep: {seed: [0, 1]}",
        "sweep: stands for several runs; one was expected here",
    ),
    ("training: {epoch: 5}", "training.epoch: unknown key; did you mean 'epochs'?"),
    (
        "training: {epochs: 0}",
        "training.epochs: expected a whole number above 0, got 0",
    ),
    (
        "training: {momentum: 1}",
        "training.momentum: expected a number of at least 0.0 and below 1.0, got 1",
    ),
    (
        "training: {learning_rate: .nan}",
        "training.learning_rate: expected a number above 0, got nan",
    ),
    (
        "training: {optimizer: adamW}",
        "training.optimizer: expected one of 'adamw', 'adam', 'sgd', got the text 'adamW'; "
        "did you mean 'adamw'?",
    ),
    (
        "training: {patience: -1}",
        "training.patience: expected a whole number above 0, or null, got -1",
    ),
    (
        "training: {patience: '3'}",
        "training.patience: expected a whole number above 0, or null, got the text '3'; "
        "take the quotes away",
    ),
    (
        "training: 5",
        "training: expected a mapping with the keys epochs, optimizer, learning_rate, "
        "weight_decay, momentum, schedule, label_smoothing, patience, or null, got 5",
    ),
    (
        "capture:",
        "capture: expected a mapping with the keys samples, folds, balanced, memory_budget, "
        "position_fraction, stop_when, seed, checkpoint_seconds, got nothing",
    ),
    (
        "capture: {balanced: yes}",
        "capture.balanced: expected true or false, got the text 'yes'",
    ),
    (
        "capture: {stop_when: {}}",
        "capture.stop_when: the key 'metric' is missing; it is text that is not empty",
    ),
    ("capture: {until: null}", "capture.until: unknown key; it is called 'stop_when' now"),
    ("capture: {tokens: 1}", "capture.tokens: unknown key; it is called 'position_fraction' now"),
    (
        "capture: {stop_when: {metric: rms, stable: 1}}",
        "capture.stop_when.stable: unknown key; it is called 'min_overlap' now",
    ),
    ("capture: {folds: 1}", "capture.folds: expected a whole number of at least 2, got 1"),
    ("metrics: [rsm]", "metrics.0: unknown metric 'rsm'; did you mean 'rms'?"),
    (
        "metrics: {name: redundncy, top: 3}",
        "metrics.name: unknown metric 'redundncy'; did you mean 'redundancy'?",
    ),
    (
        "metrics: [{name: redundancy, tpo: 3}]",
        "metrics.0.tpo: unknown key; did you mean 'top'?",
    ),
    ("metrics: [{name: rms, top: 3}]", "metrics.0.top: unknown key; known: label"),
    (
        "metrics: [{name: redundancy, scale: big}]",
        "metrics.0.scale: expected a number, got the text 'big'",
    ),
    (
        "metrics: [{redundancy: {top: 3}}]",
        "metrics.0: the metric has no 'name'; write {name: redundancy, …}",
    ),
    ("metrics: [{top: 3}]", "metrics.0: the metric has no 'name'; add 'name: …'"),
    ("metrics: [{name: 3}]", "metrics.0.name: expected the name of a metric, got 3"),
    (
        "metrics: [[rms]]",
        "metrics.0: expected a metric: a name, or a mapping with 'name', got a list of 1 item",
    ),
    ("metrics: [rms, rms]", "metrics.1: 'rms' says the same as metrics.0; take one out"),
    (
        "metrics: [redundancy, {name: redundancy, top: 10}]",
        "metrics.1: 'redundancy' says the same as metrics.0; take one out",
    ),
    (
        "metrics: [redundancy, {name: redundancy, top: 3}]",
        "metrics.1: 'redundancy' is also the name of metrics.0; give one a 'label'",
    ),
    (
        "metrics: [rms, {name: redundancy, label: rms}]",
        "metrics.1: 'rms' is also the name of metrics.0; give one a 'label'",
    ),
    (
        "metrics: [{name: rms, label: a/b}]",
        "metrics.0.label: expected a label of letters, digits, '.', '_' and '-', "
        "got the text 'a/b'",
    ),
    (
        "analyses: [{name: clusters, label: a}]",
        "analyses.0.label: unknown key; no options are taken here",
    ),
    (
        "reports: [html, 'made-up:html']",
        "reports.1: 'made-up:html' is also reports.0; reports take it once",
    ),
    (
        "interventions: {name: ablation, fractions: 0.5}",
        "interventions.fractions: expected a list of numbers above 0.0 and below 1.0, got 0.5; "
        "write [0.5]",
    ),
    (
        "interventions: {name: ablation, fractions: [0.5, 1.5]}",
        "interventions.fractions.1: expected a number above 0.0 and below 1.0, got 1.5",
    ),
    (
        "interventions: {name: ablation, fractions: [0.5, 0.1]}",
        "interventions.fractions: fractions must rise, got (0.5, 0.1)",
    ),
    (
        "pruning: {name: taylor, sparsity: 1}",
        "pruning.sparsity: expected a number of at least 0.0 and below 1.0, got 1",
    ),
    (
        "pruning: {name: taylor, budget: {nodes: 0}}",
        "pruning.budget.nodes: expected a whole number of at least 1, got 0",
    ),
    (
        "pruning: {name: taylor, budget: 3}",
        "pruning.budget: expected a mapping with the keys nodes, or null, got 3",
    ),
    (
        "pruning: broken",
        "pruning: int is not an attrs class, so its options cannot be checked",
    ),
    (
        "pruning: absent",
        "pruning: the pruner 'absent' belongs to the plugin gone, which failed to load",
    ),
    (
        "plugins: [nodelens-metrics >> 1]",
        f"plugins.0: expected {EXPECTED}, got the text 'nodelens-metrics >> 1'",
    ),
    (
        "plugins: []",
        "plugins: expected a list of plugins, got an empty list; "
        "leave the key out to load all that are installed",
    ),
    (
        "plugins: {disabled: [a]}",
        "plugins.disabled: unknown key; did you mean 'disable'?",
    ),
    (
        "plugins: {disable: ['a:>=1']}",
        f"plugins.disable.0: expected {EXPECTED}, got the text 'a:>=1'",
    ),
    (
        "plugins: [5]",
        "plugins.0: expected a distribution with an optional entry and version range, "
        "such as nodelens-metrics:information>=0.1, got 5; put it in quotes",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_one_mistake_gives_one_sentence(read, registry, line, message):
    raw = read(f"model: cnn\ndata: digits\n{line}\n")
    assert problems(raw, registry) == [f"run.yaml:3: {message}"]


BAD_MODELS = [
    ("model: cn", "run.yaml:1: model: unknown backend 'cn'; did you mean 'cnn'?"),
    (
        "model: [cnn]",
        "run.yaml:1: model: expected a backend: a name, or a mapping with 'name', "
        "got a list of 1 item",
    ),
    (
        "model: {name: cnn, channels: []}",
        "run.yaml:1: model.channels: expected a list of whole numbers above 0 with at least "
        "1 item, got an empty list",
    ),
    (
        "model: {name: cnn, channels: 8}",
        "run.yaml:1: model.channels: expected a list of whole numbers above 0 with at least "
        "1 item, got 8; write [8]",
    ),
    (
        "model: {name: cnn, activation: tanh}",
        "run.yaml:1: model.activation: expected one of 'relu', 'gelu', got the text 'tanh'",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD_MODELS)
def test_mistakes_in_the_model(read, registry, line, message):
    assert problems(read(f"{line}\ndata: digits\n"), registry) == [message]


BAD_DATA = [
    ("data: digit", "data: unknown dataset 'digit'; did you mean 'digits'?"),
    (
        "data: {name: digits, batchsize: 5}",
        "data.batchsize: unknown key; did you mean 'batch_size'?",
    ),
    ("data: {name: digits, nois: 5}", "data.nois: unknown key; did you mean 'noise'?"),
    (
        "data: {name: digits, noise: 2}",
        "data.noise: expected a number of at least 0.0 and at most 1.0, got 2",
    ),
    (
        "data: {name: digits, test_fraction: 1}",
        "data.test_fraction: expected a number of at least 0.0 and below 1.0, got 1",
    ),
    ("data: files", "data: the key 'path' is missing; it is a path"),
    ("data: {name: files, path: 3}", "data.path: expected a path, got 3; put it in quotes"),
    (
        "data: {name: files, path: a, columns: [x]}",
        "data.columns: expected a list of 2 items (text, then a whole number), or null, "
        "got a list of 1 item",
    ),
    (
        "data: {name: files, path: a, columns: [x, y]}",
        "data.columns.1: expected a whole number, got the text 'y'",
    ),
    (
        "data: {name: files, path: a, names: {x: one}}",
        "data.names.x: expected a whole number, got the text 'one'",
    ),
    (
        "data: {name: files, path: a, names: [x]}",
        "data.names: expected a mapping to whole numbers, got a list of 1 item",
    ),
    ("data: {batch_size: 5}", "data: the dataset has no 'name'; add 'name: …'"),
    ("data:", "data: expected a dataset: a name, or a mapping with 'name', got nothing"),
]


@pytest.mark.parametrize(("line", "message"), BAD_DATA)
def test_mistakes_in_the_data(read, registry, line, message):
    assert problems(read(f"model: cnn\n{line}\n"), registry) == [f"run.yaml:2: {message}"]


def test_missing_sections_say_what_they_name(read, registry):
    assert problems(read("seed: 0\n"), registry) == [
        "run.yaml:1: the section 'model' is missing: it names the backend; known: cnn, mlp",
        "run.yaml:1: the section 'data' is missing: it names the dataset; known: digits, files",
    ]


def test_all_mistakes_are_reported_together_in_the_order_of_the_file(write, read, registry):
    write("training:\n  epochs: 0\n  momentum: 2\n", "base.yaml")
    raw = read(
        "extends: base.yaml\nmodel: cn\nmetrics:\n- rms\n- rsm\n"
        "- {name: redundancy, top: 0, x: 1}\n",
        "data.name=digit",
    )
    assert problems(raw, registry) == [
        "base.yaml:2: training.epochs: expected a whole number above 0, got 0",
        "base.yaml:3: training.momentum: expected a number of at least 0.0 and below 1.0, got 2",
        "run.yaml:2: model: unknown backend 'cn'; did you mean 'cnn'?",
        "run.yaml:5: metrics.1: unknown metric 'rsm'; did you mean 'rms'?",
        "run.yaml:6: metrics.2.top: expected a whole number of at least 1, or null, got 0",
        "run.yaml:6: metrics.2.x: unknown key; known: centred, label, scale, top",
        "command line: data.name=digit: data.name: unknown dataset 'digit'; did you mean 'digits'?",
    ]


def test_mistakes_in_python_are_placed_in_the_config(registry):
    raw = raw_from_mapping({"model": "cnn", "data": "digits", "seed": "0"})
    message = "seed: expected a whole number of at least 0, got the text '0'; take the quotes away"
    assert problems(raw, registry) == [f"config: {message}"]


def test_a_component_may_be_named_with_its_distribution(read, registry):
    config = check_config(read("model: cnn\ndata: digits\nmetrics: made-up:rms\n"), registry)
    assert config.metrics == (Component("made-up:rms"),)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("seed: 0", PluginSettings()),
        ("plugins:", PluginSettings()),
        ("plugins: nodelens-metrics", PluginSettings(only=("nodelens-metrics",))),
        ("plugins: [a, 'b>=0.1,<2']", PluginSettings(only=("a", "b>=0.1,<2"))),
        ("plugins: {disable: [a]}", PluginSettings(disable=("a",))),
        ("plugins: [a:b, 'c:d>=0.1']", PluginSettings(only=("a:b", "c:d>=0.1"))),
        ("plugins: {disable: 'a:b<1'}", PluginSettings(disable=("a:b<1",))),
        ("plugins: {only: [a, b], disable: b}", PluginSettings(("a", "b"), ("b",))),
    ],
)
def test_plugin_settings_are_read_alone(read, text, settings):
    assert plugin_settings(read(f"model: nothing of this is checked\n{text}\n")) == settings


def test_bad_plugin_settings_are_reported_alone(read):
    with pytest.raises(ConfigError) as caught:
        plugin_settings(read("model: 3\nplugins: {only: 'a b'}\n"))
    assert caught.value.problems == (
        f"run.yaml:2: plugins.only.0: expected {EXPECTED}, got the text 'a b'",
    )


def test_checking_imports_nothing_heavy():
    code = (
        "import sys, nodelens.config.check, nodelens.config.load, nodelens.config.sweep,"
        " nodelens.config.dump, nodelens.config.schema_json, nodelens.config.options;"
        "print(sorted({'torch', 'numpy', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
