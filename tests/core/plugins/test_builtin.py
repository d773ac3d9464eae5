"""The core's own components."""

from __future__ import annotations

import pytest

from nodelens.config.options import option_fields
from nodelens.config.schema import PluginSettings
from nodelens.plugins.manager import load_plugins
from nodelens.plugins.registry import Registry

OFFERS = load_plugins(PluginSettings(only=("nodelens-core",))).registry.offers


def test_the_core_offers_what_a_first_run_needs():
    offered = {(each.spec.kind, each.name) for each in OFFERS}
    assert offered >= {
        *(("backend", name) for name in ("mlp", "cnn", "resnet", "import")),
        *(("dataset", name) for name in ("digits", "arrays", "idx", "image_folder")),
        *(("analysis", name) for name in ("agreement", "clusters", "layers")),
        *(("intervention", name) for name in ("ablation", "oracle")),
        *(("report", name) for name in ("html", "json")),
        ("recovery", "fine_tune"),
    }
    assert not {kind for kind, _ in offered} & {"metric", "pruner", "command", "operator"}


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
