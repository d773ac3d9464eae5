"""Patterns in place of names, under ``metrics:`` alone."""

from __future__ import annotations

import pytest

from nodelens.config.check import check_config
from nodelens.config.dump import to_yaml
from nodelens.config.load import raw_from_mapping
from nodelens.config.patterns import LABELLED, expand
from nodelens.config.schema import Component, is_pattern
from nodelens.errors import ConfigError


def checked(registry, metrics, **sections):
    mapping = {"model": "cnn", "data": "digits", "metrics": metrics, **sections}
    return check_config(raw_from_mapping(mapping), registry)


@pytest.mark.parametrize("name", ["*", "weight_*", "?ms", "[rt]*", "family:paths", "made-up:*"])
def test_wildcards_and_families_are_patterns(name):
    assert is_pattern(name)


@pytest.mark.parametrize("name", ["rms", "made-up:rms", "family_of_one"])
def test_names_are_no_patterns(name):
    assert not is_pattern(name)


DEFAULTS = Component("redundancy", {"top": 10, "scale": 1.0, "centred": True})
MINE = Component("redundancy", {"top": 3, "scale": 1.0, "centred": True})


@pytest.mark.parametrize(
    ("given", "found", "taken"),
    [
        (
            (Component("*"),),
            [DEFAULTS, Component("rms"), Component("taylor")],
            "redundancy rms taylor",
        ),
        ((Component("r*"),), [DEFAULTS, Component("rms")], "redundancy rms"),
        ((Component("*"), MINE), [Component("rms"), Component("taylor"), MINE], "rms taylor"),
        (
            (Component("taylor"), Component("r*"), Component("*")),
            [Component("taylor"), DEFAULTS, Component("rms")],
            "redundancy rms",
        ),
        ((MINE,), [MINE], ""),
    ],
    ids=["all", "some", "outright beside", "two patterns", "none"],
)
def test_a_pattern_takes_what_is_not_named_outright(registry, given, found, taken):
    expansion = expand(given, registry)
    assert list(expansion.components) == found
    assert expansion.taken == frozenset(taken.split())
    assert expansion.left_out == {}


def test_a_label_is_another_metric_than_the_one_that_a_pattern_takes(registry):
    labelled = Component("redundancy", {"top": 3}, "three")
    expansion = expand((labelled, Component("red*")), registry)
    assert [each.result_name for each in expansion.components] == ["three", "redundancy"]


class Needy:
    """A registry with a metric that needs an option, and one that is broken."""

    def __init__(self, registry):
        self.names, self.unloaded = registry.names, registry.unloaded
        self.own_name = registry.own_name
        self.other = registry

    def matching(self, kind, pattern):
        return ["absent", "files", "rms"]

    def component(self, kind, name):
        return self.other.component("dataset" if name == "files" else kind, name)


def test_what_cannot_be_made_is_left_out_with_the_reason(registry):
    expansion = expand((Component("*"),), Needy(registry))
    assert expansion.components == (Component("rms"),)
    assert expansion.left_out == {
        "absent": "the metric 'absent' belongs to the plugin gone, which failed to load",
        "files": "the key 'path' is missing; it is a path",
    }


def test_a_config_keeps_its_patterns(registry):
    config = checked(registry, ["r*", {"name": "redundancy", "top": 3}])
    assert config.metrics == (Component("r*"), MINE)
    again = checked(registry, ["r*", {"name": "redundancy", "top": 3}])
    assert config == again
    assert "metrics:\n- r*\n- {name: redundancy, top: 3" in to_yaml(config)


def test_a_stopping_rule_may_go_by_what_a_pattern_takes(registry):
    until = {"capture": {"stop_when": {"metric": "rms"}}}
    assert checked(registry, "r*", **until).capture.stop_when.metric == "rms"
    with pytest.raises(ConfigError, match="'taylor' is not one of the run's metrics"):
        checked(registry, "r*", capture={"stop_when": {"metric": "taylor"}})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"metrics": ["x*"]}, "metrics.0: no metric matches 'x*'"),
        (
            {"metrics": [{"name": "r*", "top": 3}]},
            "metrics.0.name: 'r*' stands for several metrics and takes no options; "
            "name the metric that has them beside it",
        ),
        (
            {"metrics": [{"name": "r*", "label": "mine"}]},
            "metrics.0.name: 'r*' stands for several metrics and takes no options; "
            "name the metric that has them beside it",
        ),
        ({"metrics": ["r*", "r*"]}, "metrics.1: 'r*' says the same as metrics.0; take one out"),
        (
            {"analyses": ["*"]},
            "analyses.0: unknown analysis '*'; known: agreement, clusters",
        ),
    ],
)
def test_a_wrong_pattern_is_one_mistake(registry, sections, message):
    with pytest.raises(ConfigError) as caught:
        checked(registry, sections.pop("metrics", ["rms"]), **sections)
    assert caught.value.problems == (f"config: {message}",)


def test_a_pattern_leaves_out_a_name_that_is_the_label_of_another_metric(registry):
    labelled = Component("taylor", {}, "redundancy")
    found = expand((labelled, Component("redund*")), registry)
    assert [each.result_name for each in found.components] == ["redundancy"]
    assert found.left_out == {"redundancy": LABELLED}
