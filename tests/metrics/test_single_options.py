"""Every option by itself: two settings that differ in that option alone give two results."""

from importlib import import_module

import attrs
import pytest
import torch

from nodelens.testing.composed import composed
from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world
from nodelens_metrics import plugin
from nodelens_metrics.activations import ActivationRMS
from nodelens_metrics.norms import WeightL2
from nodelens_metrics.parts import Part

FAMILIES = {
    "class_sets",
    "composites",
    "decomposition",
    "feature_maps",
    "greedy",
    "higher_order",
    "information",
    "layer_information",
    "peers",
    "permutation",
    "similarity",
    "supernodes",
    "targets",
}
SPECS = [spec for spec in plugin.nodelens_register_metrics() if spec.family in FAMILIES]
PARTS = {"activation_rms": ActivationRMS(), "weight_l2": WeightL2()}

CHANGED = {
    "absolute": False,
    "bins": 4,
    "core": 0.5,
    "estimator": "gaussian",
    "goal": "synergy",
    "halo": 0.5,
    "neighbours": 5,
    "noise": 0.1,
    "partners": 3,
    "permutations": 99,
    "pool": 3,
    "positive_only": True,
    "rows": 8,
    "samples": 32,
    "seed": 1,
    "sets": 5,
    "shared_variance": False,
    "sketch": 16,
    "support": 0.5,
    "target": "nll",
    "top": 1,
    "variant": "conn",
}
"""What an option is set to, where its default is something else."""

BASES = {
    ("composite", "by"): {"parts": ("activation_rms", "weight_l2")},
    ("composite", "parts"): {"parts": ("activation_rms", "weight_l2")},
    ("core_connection", "core"): {"support": 0.5},
    ("core_redundancy", "top"): {"core": 0.5},
    ("scar", "variant"): {"halo": 0.5},
    ("scar", "support"): {"halo": 0.5},
    ("scar", "top"): {"core": 0.5, "halo": 1.0},
    ("scar", "sketch"): {"core": 0.5, "halo": 1.0},
    ("target_excess", "top"): {"pool": 3},
}
"""The other options, where the defaults leave a small layer nothing to choose."""


def settings(spec, option, default):
    """Return two settings that differ in one option."""
    base = BASES.get((spec.name, option), {})
    if option == "parts":
        return base, {"parts": (Part("activation_rms", 3.0), "weight_l2")}
    if option == "by":
        return base, {**base, "by": "standard"}
    if option == "size":
        return base, {**base, "size": 3 if default == 4 else 4}
    changed = (not default) if option == "correct_bias" else CHANGED[option]
    return base, {**base, option: changed}


def cases():
    for spec in SPECS:
        module, _, name = spec.target.partition(":")
        cls = getattr(import_module(module), name)
        for field in attrs.fields(cls):
            pair = settings(spec, field.name, field.default)
            yield pytest.param(cls, *pair, id=f"{spec.name}-{field.name}")


@pytest.mark.parametrize(("cls", "one", "other"), list(cases()))
def test_one_option_changes_a_result(cls, one, other):
    world = make_world(nodes=12)
    found = [scores(composed(cls(**options), PARTS), world) for options in (one, other)]
    assert not torch.equal(*found)
