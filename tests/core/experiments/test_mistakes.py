"""Mistakes in the Python interface are errors that say what was expected, never Python's own."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from attrs import evolve
from torch import nn

import nodelens
from nodelens.errors import NodelensError
from nodelens.experiments.resume import check_resumable
from nodelens.plugins.manager import load_plugins

G = torch.Generator().manual_seed(0)
X = torch.randn(8, 4, generator=G)
NODES = "0:neurons"
KEEP = {NODES: [0, 1]}


def made(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)).eval()


MODEL = made()
GRAPH = nodelens.infer(MODEL, X)


def masked(model: object = MODEL, keep: object = KEEP, **options: object) -> object:
    with torch.no_grad(), GRAPH.mask(model, keep, **options):
        return model(X)


def by_mean(means: object) -> object:
    return masked(replace="mean", means=means)


def labelled(label: object) -> object:
    return nodelens.score(MODEL, [X], [{"name": "activation_rms", "label": label}])


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "a list of plugins": (
        lambda: nodelens.score(MODEL, [X], ["activation_rms"], plugins=[3]),
        "plugins: expected what load_plugins",
    ),
    "no plugins": (
        lambda: nodelens.score(MODEL, [X], ["activation_rms"], plugins=[]),
        "plugins: expected what load_plugins",
    ),
    "plugins of a run": (
        lambda: nodelens.run({"model": "mlp", "data": "digits"}, plugins="all"),
        "plugins: expected what load_plugins",
    ),
    "no input": (lambda: nodelens.infer(MODEL, None), "does not run on the example inputs"),
    "nothing": (lambda: nodelens.infer(MODEL), "does not run on the example inputs"),
    "text": (lambda: nodelens.infer(MODEL, "x"), "does not run on the example inputs"),
    "no model to infer": (lambda: nodelens.infer(None, X), "must be a torch.nn.Module"),
    "no keep": (lambda: masked(keep=None), "keep must be a mapping"),
    "a list to keep": (lambda: masked(keep=[0]), "keep must be a mapping"),
    "text to keep": (lambda: masked(keep={NODES: "ab"}), "expected the numbers of the kept"),
    "nothing to keep": (lambda: masked(keep={NODES: None}), "expected the numbers of the kept"),
    "means of another length": (
        lambda: by_mean({NODES: torch.zeros(5)}),
        r"expected the mean of each of 6 nodes, .*got \(5,\)",
    ),
    "one mean": (lambda: by_mean({NODES: 0.0}), r"of each of 6 nodes, .*got \(\)"),
    "means of text": (lambda: by_mean({NODES: "a"}), "expected the mean of each node"),
    "means that are no mapping": (lambda: by_mean(3), "means: expected a mapping"),
    "no model to mask": (lambda: masked(model=None), "must be a torch.nn.Module"),
    "a model of another width": (lambda: masked(model=made(7)), "has 6 nodes, and 0.weight .* 7"),
    "another model": (lambda: masked(model=nn.Linear(4, 3)), "this one has no weight '0.weight'"),
    "no model to prune": (lambda: GRAPH.remove(None, KEEP, X), "must be a torch.nn.Module"),
    "another width to prune": (lambda: GRAPH.remove(made(7), KEEP, X), "inferred on another"),
    "another width to verify": (lambda: GRAPH.verify(made(7), X), "inferred on another model"),
    "a number for a group": (lambda: GRAPH[3], "no channel group is called 3"),
    **{
        f"the label {label!r}": (lambda label=label: labelled(label), "metrics: the label .*expec")
        for label in ("../x", "a/b", "", "a b", "x\n", "-a", 3)
    },
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_an_error_of_nodelens(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(NodelensError, match=message):
        call()


def test_means_may_be_any_numbers_of_the_right_length():
    expected = by_mean({NODES: torch.arange(6.0)})
    assert torch.equal(by_mean({NODES: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}), expected)


def test_a_resumed_run_warns_of_other_plugins(tmp_path, caplog):
    config = {
        "model": {"name": "mlp", "hidden": [4]},
        "data": {"name": "digits", "flat": True, "subset": 120},
        "output": str(tmp_path),
        "reports": [],
    }
    run = nodelens.run(config)
    run.file("manifest.json").unlink()
    from nodelens.config.check import check_config
    from nodelens.config.load import raw_from_mapping

    plugins = load_plugins()
    checked = check_config(raw_from_mapping(config), plugins.registry)
    device = run.record().device
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_resumable(run, checked, device, plugins.records)
        assert not caplog.messages
        first, second, *others = plugins.records
        check_resumable(run, checked, device, [evolve(first, version="9.9"), *others])
    assert caplog.messages == [
        f"resumed with plugin {first.name} 9.9 loaded, started with it {first.version} loaded",
        f"resumed with plugin {second.name} absent, started with it {second.version} loaded",
    ]
