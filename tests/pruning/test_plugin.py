import pytest

from nodelens.config.options import option_fields, structure_options
from nodelens.errors import ConfigError
from nodelens.interfaces.pruner import Pruner
from nodelens.testing.imports import heavy_imports
from nodelens_pruning.plugin import nodelens_register_pruners


def target(spec):
    module, _, name = spec.target.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)


@pytest.mark.parametrize("spec", nodelens_register_pruners(), ids=lambda spec: spec.name)
def test_every_pruner_is_one_with_documented_options(spec):
    cls = target(spec)
    options = option_fields(cls)
    assert isinstance(cls(**({"metric": "m"} if spec.name == "by_score" else {})), Pruner)
    assert all(option.doc for option in options)


@pytest.mark.parametrize("spec", nodelens_register_pruners(), ids=lambda spec: spec.name)
def test_earlier_names_of_options_are_answered_with_those_of_today(spec):
    with pytest.raises(ConfigError) as caught:
        structure_options(target(spec), {"minimum": 2, "multiples": {}}, "pruning")
    assert caught.value.problems[:2] == (
        "pruning.minimum: unknown key; it is called 'min_nodes' now",
        "pruning.multiples: unknown key; it is called 'round_to' now",
    )


@pytest.mark.parametrize("module", ["nodelens_pruning.plugin", "nodelens_pruning.methods"])
def test_modules_that_are_listed_import_nothing_heavy(module):
    assert heavy_imports(module) == ""
