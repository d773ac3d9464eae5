"""The core's own components."""

from __future__ import annotations

import pytest

from nodelens.config.options import option_fields
from nodelens.config.schema import PluginSettings
from nodelens.plugins.manager import load_plugins
from nodelens.plugins.registry import Registry
from nodelens.plugins.specs import SPEC_KINDS

OFFERS = load_plugins(PluginSettings(only=("nodelens-core",))).registry.offers


def test_the_core_offers_what_a_first_run_needs():
    names = {kind: [each.name for each in OFFERS if each.spec.kind == kind] for kind in SPEC_KINDS}
    assert names == {
        "backend": ["mlp", "cnn", "resnet", "import"],
        "dataset": ["digits", "arrays", "idx", "image_folder"],
        "metric": [],
        "analysis": ["agreement", "clusters", "layers"],
        "intervention": ["ablation", "oracle"],
        "evaluation": [],
        "pruner": [],
        "recovery": ["fine_tune"],
        "report": ["html", "json"],
        "command": [],
        "operator": [],
    }


COMPONENTS = pytest.mark.parametrize(
    "offer", OFFERS, ids=lambda offer: f"{offer.spec.kind} {offer.name}"
)


@COMPONENTS
def test_every_target_is_what_its_kind_needs(offer):
    registry = Registry(())
    assert registry.checked(offer, registry.load(offer))


@COMPONENTS
def test_every_option_is_documented(offer):
    registry = Registry(())
    options = option_fields(registry.checked(offer, registry.load(offer)))
    assert [option.name for option in options if not option.doc] == []
