import pytest

from nodelens.config.check import check_config
from nodelens.config.load import raw_from_mapping
from nodelens.config.options import option_fields, structure_options
from nodelens.errors import ConfigError, UnknownNameError
from nodelens.interfaces.pruner import Pruner
from nodelens.plugins.manager import load_plugins
from nodelens.testing.imports import heavy_imports
from nodelens_pruning import plugin
from nodelens_pruning.plugin import methods

REGISTRY = load_plugins().registry


@pytest.mark.parametrize("offer", REGISTRY.match("pruner", "nodelens-pruning:*"))
def test_every_pruner_is_one_with_documented_options(offer):
    cls = REGISTRY.component("pruner", offer.name)
    options = option_fields(cls)
    assert isinstance(cls(**({"metric": "m"} if offer.name == "by_score" else {})), Pruner)
    assert all(option.doc for option in options)


def test_every_method_is_a_plugin_of_its_own():
    offers = REGISTRY.match("pruner", "nodelens-pruning:*")
    assert [offer.plugin for offer in offers] == [
        f"nodelens-pruning:{name}" for name in ("by_score", "magnitude", "random", "taylor")
    ]


def test_every_class_of_a_method_has_an_entry_point():
    assert sorted(methods()) == sorted(REGISTRY.names("pruner"))
    with pytest.raises(AttributeError, match="no attribute 'wanda'"):
        plugin.wanda  # noqa: B018


def test_one_method_can_stay_out():
    registry = load_plugins(block=["nodelens-pruning:taylor"]).registry
    assert registry.names("pruner") == ["by_score", "magnitude", "random"]
    with pytest.raises(UnknownNameError, match="not loaded: nodelens-pruning:taylor "):
        registry.offer("pruner", "taylor")


@pytest.mark.parametrize("offer", REGISTRY.match("pruner", "nodelens-pruning:*"))
def test_earlier_names_of_options_are_answered_with_those_of_today(offer):
    with pytest.raises(ConfigError) as caught:
        structure_options(
            REGISTRY.component("pruner", offer.name), {"minimum": 2, "multiples": {}}, "pruning"
        )
    assert caught.value.problems[:2] == (
        "pruning.minimum: unknown key; it is called 'min_nodes' now",
        "pruning.multiples: unknown key; it is called 'round_to' now",
    )


@pytest.mark.parametrize("module", ["nodelens_pruning.plugin", "nodelens_pruning.methods"])
def test_modules_that_are_listed_import_nothing_heavy(module):
    assert heavy_imports(module) == ""


def test_a_metric_that_a_method_ranks_by_has_to_be_there():
    pruning = {"name": "by_score", "metric": "tailor"}
    raw = raw_from_mapping({"model": "mlp", "data": "digits", "pruning": pruning})
    with pytest.raises(ConfigError, match="pruning: 'by_score' ranks by 'tailor': no metric is"):
        check_config(raw, REGISTRY)
