"""Looking components up by name."""

from __future__ import annotations

import sys
import types

import pytest
from attrs import frozen

from nodelens.config.schema import COMPONENT_KINDS, Component, PluginSettings
from nodelens.errors import ConfigError, PluginError, UnknownNameError
from nodelens.interfaces.metric import MetricInfo
from nodelens.plugins.contracts import missing_members
from nodelens.plugins.manager import load_plugins
from nodelens.plugins.plugin_record import PluginRecord
from nodelens.plugins.registry import Offer, Registry
from nodelens.plugins.specs import SPEC_KINDS, AnalysisSpec, MetricSpec, OperatorSpec, PrunerSpec


@frozen
class Gini:
    """The Gini index."""

    top: int = 3

    def analyse(self, scores, seed):
        raise NotImplementedError


@frozen
class Nothing:
    """An analysis that analyses nothing."""


TARGETS = "targets_of_registry_tests"


@pytest.fixture
def importable(monkeypatch):
    """Let targets name the classes of this file."""
    module = types.ModuleType(TARGETS)
    module.Gini, module.Nothing = Gini, Nothing
    monkeypatch.setitem(sys.modules, TARGETS, module)


def analysis(name, target=f"{TARGETS}:Gini"):
    return AnalysisSpec(name, target, "An analysis.")


def metric(name, family="other"):
    return MetricSpec(name, "nowhere.at:All", "A metric.", family)


def record(distribution, *specs, version="1.0", entry="main"):
    return PluginRecord(f"{distribution}:{entry}", distribution, version, "loaded", "", specs)


ACME = record("acme", metric("taylor", "tails"), metric("peak"), analysis("gini"), version="1.2")
BETA = record("beta-tools", metric("peak"), PrunerSpec("taylor2", "a:B", "Prunes."))
FAILED = PluginRecord("gamma:main", "gamma", "3", "failed", "RuntimeError: no luck")
BLOCKED = PluginRecord("delta:main", "delta", "4", "blocked", "blocked by --no-plugin")
REGISTRY = Registry((ACME, BETA))


def test_names_are_sorted_and_listed_once():
    assert REGISTRY.names("metric") == ["peak", "taylor"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["acme:peak", "beta-tools:peak", "acme:taylor"]),
        ("t*", ["acme:taylor"]),
        ("?eak", ["acme:peak", "beta-tools:peak"]),
        ("beta_tools:*", ["beta-tools:peak"]),
        ("*:peak", ["acme:peak", "beta-tools:peak"]),
        ("T*", []),
        ("family:tails", ["acme:taylor"]),
        ("family:*", ["acme:peak", "beta-tools:peak", "acme:taylor"]),
    ],
)
def test_wildcards_match_names(pattern, found):
    assert [offer.qualified for offer in REGISTRY.match("metric", pattern)] == found


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["peak", "taylor"]),
        ("family:tails", ["taylor"]),
        ("acme:*", ["acme:peak", "acme:taylor"]),
    ],
)
def test_a_pattern_stands_for_names(pattern, names):
    assert REGISTRY.matching("metric", pattern) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("tailor*", "no metric matches 'tailor*'; did you mean 'taylor'?"),
        ("family:tail", "no metric is of a family 'tail'; did you mean 'tails'?"),
        ("acne:t*", "no metric matches 'acne:t*'; did you mean 'acme'?"),
        ("family:xyz", "no metric is of a family 'xyz'; known: other, tails"),
    ],
)
def test_a_pattern_that_matches_nothing_gets_the_closest_one(pattern, message):
    with pytest.raises(UnknownNameError) as caught:
        REGISTRY.matching("metric", pattern)
    assert str(caught.value) == message


def test_a_pattern_for_a_family_that_is_off_names_the_plugin():
    off = record("acme", metric("taylor"))
    blocked = PluginRecord("acme:tails", "acme", "1", "blocked", "disabled by the config")
    with pytest.raises(UnknownNameError) as caught:
        Registry((off, blocked)).matching("metric", "family:tails")
    assert str(caught.value).endswith(
        "; offered by what is not loaded: "
        "acme:tails (disabled by the config; take it out of plugins.disable)"
    )


def test_an_offer_knows_its_provider():
    assert REGISTRY.offer("metric", "taylor").provider == "acme 1.2"


def test_a_clash_lists_every_provider():
    with pytest.raises(PluginError) as caught:
        REGISTRY.offer("metric", "peak")
    assert str(caught.value) == (
        "metric 'peak' is offered by acme 1.2, beta-tools 1.0; "
        "say which one: acme:peak or beta-tools:peak"
    )


@pytest.mark.parametrize("name", ["beta-tools:peak", "Beta_Tools:peak"])
def test_a_distribution_resolves_a_clash(name):
    assert REGISTRY.offer("metric", name).distribution == "beta-tools"


def test_a_clash_within_a_distribution_is_resolved_by_leaving_one_out():
    registry = Registry((record("acme", metric("peak")), record("acme", metric("peak"), entry="b")))
    with pytest.raises(PluginError) as caught:
        registry.offer("metric", "peak")
    assert str(caught.value) == (
        "metric 'peak' is offered by acme 1.0, acme 1.0; "
        "leave one out: --no-plugin acme:main or --no-plugin acme:b"
    )


@pytest.mark.parametrize(
    ("records", "name", "message"),
    [
        ((ACME,), "taylr", "no metric is called 'taylr'; did you mean 'taylor'?"),
        ((ACME,), "xyz", "no metric is called 'xyz'; known: peak, taylor"),
        (
            (ACME, BETA),
            "taylor2",
            "no metric is called 'taylor2'; did you mean 'taylor'?; "
            "there is a pruner of that name; name it under 'pruning:'",
        ),
        (
            (FAILED, BLOCKED),
            "peak",
            "no metric is called 'peak'; not loaded: gamma:main 3 failed: RuntimeError: no luck; "
            "delta:main (blocked by --no-plugin; leave that --no-plugin out)",
        ),
        (
            (FAILED, BLOCKED, ACME),
            "gamma:peak",
            "no metric is called 'gamma:peak'; did you mean 'acme:peak'?; "
            "not loaded: gamma:main 3 failed: RuntimeError: no luck",
        ),
    ],
)
def test_an_unknown_name_says_what_may_be_meant(records, name, message):
    with pytest.raises(UnknownNameError) as caught:
        Registry(records).offer("metric", name)
    assert str(caught.value) == message


@pytest.mark.parametrize(("section", "kind"), COMPONENT_KINDS.items())
def test_a_name_of_another_kind_is_sent_to_its_section(section, kind):
    asked = "metric" if kind != "metric" else "report"
    specs = (SPEC_KINDS[kind]("perplexity", "a:B", "Counts."),)
    with pytest.raises(UnknownNameError) as caught:
        Registry((record("acme", *specs),)).offer(asked, "perplexity")
    article = "an" if kind in ("analysis", "evaluation", "intervention") else "a"
    sections = [key for key, named in COMPONENT_KINDS.items() if named == kind]
    assert section in sections
    places = " or ".join(f"'{each}:'" for each in sections)
    end = f"; there is {article} {kind} of that name; name it under {places}"
    assert str(caught.value) == f"no {asked} is called 'perplexity'{end}"


def test_an_operator_has_no_section_to_be_named_in():
    specs = (OperatorSpec("fold", "a:B", "Folds."),)
    with pytest.raises(UnknownNameError, match=r"there is an operator of that name$"):
        Registry((record("acme", *specs),)).offer("metric", "fold")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("not_there:X", "needs the module 'not_there', which is not installed"),
        ("json:Nothing", "AttributeError: module 'json' has no attribute 'Nothing'"),
        ("json:dumps", "json:dumps is not a class"),
        (f"{TARGETS}:Nothing", "Nothing lacks analyse"),
    ],
)
@pytest.mark.usefixtures("importable")
def test_a_target_that_cannot_be_used_names_the_plugin(target, message):
    registry = Registry((record("acme", analysis("gini", target)),))
    with pytest.raises(PluginError) as caught:
        registry.component("analysis", "gini")
    assert str(caught.value).startswith("analysis 'gini' of acme 1.0")
    assert message in str(caught.value)


@pytest.mark.usefixtures("importable")
def test_a_component_is_built_with_its_options():
    assert REGISTRY.component("analysis", "gini") is Gini
    assert REGISTRY.build("analysis", Component("gini", {"top": 5})) == Gini(5)
    assert REGISTRY.build("analysis", Component("acme:gini")) == Gini(3)


@pytest.mark.usefixtures("importable")
def test_wrong_options_are_config_errors():
    with pytest.raises(ConfigError, match=r"gini\.topp: unknown key; did you mean 'top'\?"):
        REGISTRY.build("analysis", Component("gini", {"topp": 5}))


def test_metrics_need_all_that_reports_say_of_them():
    assert missing_members("metric", object) == ["info", "statistics", "score"]


def test_members_of_an_earlier_contract_are_told_what_takes_their_place():
    class Old:
        better, unit = "high", "1"

        def needs(self):
            return ()

        def score(self, group):
            raise NotImplementedError

    found = missing_members("metric", Old)
    assert found == ["info (in place of better, unit)", "statistics (in place of needs)"]


def test_earlier_names_of_what_may_be_left_out_are_named():
    class Mixed:
        info = statistics = ()
        uses = unfit = score = print

    found = missing_members("metric", Mixed)
    assert found == ["depends_on (in place of uses)", "check_dependencies (in place of unfit)"]


def test_a_plugin_that_has_the_name_is_said_before_all_known_names():
    registry = load_plugins(PluginSettings(disable=("nodelens-metrics:gradients",))).registry
    with pytest.raises(UnknownNameError) as caught:
        registry.offer("metric", "taylor")
    assert str(caught.value) == (
        "no metric is called 'taylor'; offered by what is not loaded: nodelens-metrics:gradients "
        "(disabled by the config; take it out of plugins.disable)"
    )


def test_a_name_that_the_source_does_not_say_as_the_class_does_is_refused():
    @frozen
    class Peak:
        info = MetricInfo(name="summit", formula="a", unit="1", higher_is_better=True)
        statistics = ()

        def score(self, group):
            raise NotImplementedError

    offer = Offer(MetricSpec("peak", "acme:Peak", "Peaks."), "acme:main", "acme", "1.0")
    with pytest.raises(PluginError, match=r"Peak\.info says name='summit'; write it as"):
        Registry(()).checked(offer, Peak)
