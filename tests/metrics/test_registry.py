"""The author kit over every registered metric and every option."""

from importlib import import_module

import pytest
import torch

from nodelens.testing import check_metric
from nodelens.testing.imports import heavy_imports
from nodelens.testing.metric_checks import scores
from nodelens.testing.rewritings import REWRITINGS
from nodelens.testing.world import make_world
from nodelens_metrics import plugin

SPECS = plugin.nodelens_register_metrics()
VARIANTS = {
    "zero_fraction": [{"tolerance": 0.5}],
    "rayleigh_quotient": [{"relative": True}],
    "redundancy": [{"top": 2}, {"positive_only": True}, {"noise": 0.1}],
    "peer_redundancy": [{"noise": 0.1}],
    "class_information": [{"shared_variance": False}],
    "taylor_2016": [{"normalise": False}],
    "loss_proxy": [{"factored": True}],
}
CHECKS = [
    check for spec in SPECS for check in check_metric(spec, variants=VARIANTS.get(spec.name, []))
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_metric(check):
    check.run()


def test_the_variants_belong_to_registered_metrics():
    assert VARIANTS.keys() <= {spec.name for spec in SPECS}


def test_names_and_targets_are_unique():
    assert len({spec.name for spec in SPECS}) == len({spec.target for spec in SPECS}) == len(SPECS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_family_is_a_file(spec):
    assert spec.target.startswith(f"nodelens_metrics.{spec.family}:")


def test_the_plugin_imports_nothing_heavy():
    assert heavy_imports("nodelens_metrics.plugin") == ""


def metric_class(target):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_invariance_that_is_not_declared_does_not_hold(spec):
    kind, world = metric_class(spec.target), make_world()
    metrics = [kind(), *(kind(**options) for options in VARIANTS.get(spec.name, []))]
    for rewriting in REWRITINGS.keys() - metrics[0].invariances:
        found = [scores(metric, REWRITINGS[rewriting](world)) for metric in metrics]
        expected = [scores(metric, world) for metric in metrics]
        same = [torch.allclose(*pair) for pair in zip(found, expected, strict=True)]
        assert not all(same), f"{spec.name} is invariant to {rewriting}"


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("activations:ZeroFraction", {"tolerance": -1.0}),
        ("information:Redundancy", {"top": 0}),
        ("information:Redundancy", {"noise": 0.0}),
        ("information:PeerRedundancy", {"noise": -1e-6}),
    ],
)
def test_options_out_of_range_are_refused(target, options):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' must be"):
        metric_class(f"nodelens_metrics.{target}")(**options)


def test_the_metric_of_a_largest_value_has_no_jackknife():
    kinds = {spec.name: metric_class(spec.target) for spec in SPECS}
    without = {name for name, kind in kinds.items() if not getattr(kind, "jackknife", True)}
    assert without == {"outlier_index"}
