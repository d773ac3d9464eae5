"""Hook implementations that would be ignored or called wrongly are refused with a reason."""

from __future__ import annotations

import pytest

from nodelens.config.schema import PluginSettings
from nodelens.errors import PluginError
from nodelens.plugins.hooks import hook_names
from nodelens.plugins.manager import load_plugins

METRIC = "MetricSpec('peak', 'acme.peak:Peak', 'Largest.')"
REFUSED = {
    "undecorated": (
        "def nodelens_register_metrics(): return []",
        "nodelens_register_metrics is not decorated with @nodelens.hookimpl",
    ),
    "unknown hook": (
        "@hookimpl\ndef nodelens_register_metric(): return []",
        "there is no hook nodelens_register_metric; did you mean 'nodelens_register_metrics'?",
    ),
    "older hook": (
        "@hookimpl\ndef nodelens_register_rules(): return []",
        "there is no hook nodelens_register_rules any more: implement nodelens_register_operators "
        "and return a list of OperatorSpec, whose targets are rows "
        "(nodelens.interfaces.operator.Operator) that hold the rules",
    ),
    "unknown specname": (
        "@hookimpl(specname='nodelens_scores')\ndef scores(): return []",
        "there is no hook nodelens_scores; did you mean 'nodelens_score'?",
    ),
    "unknown argument": (
        "@hookimpl\ndef nodelens_scored(score): pass",
        "nodelens_scored has an argument 'score'; did you mean 'scores'?",
    ),
    "argument of a hook without": (
        "@hookimpl\ndef nodelens_register_metrics(config): return []",
        "nodelens_register_metrics has an argument 'config'; this hook has none",
    ),
    "default": (
        "@hookimpl\ndef nodelens_scored(scores, run=None): pass",
        "nodelens_scored has a default for 'run', so the value would never be given",
    ),
    "keywords": (
        "@hookimpl\ndef nodelens_scored(**kwargs): pass",
        "nodelens_scored takes '**kwargs'; name the arguments one by one",
    ),
    "keyword only": (
        "@hookimpl\ndef nodelens_scored(*, run): pass",
        "nodelens_scored takes 'run'; name the arguments one by one",
    ),
    "wrapper of registration": (
        "@hookimpl(wrapper=True)\ndef nodelens_register_metrics(): yield",
        "nodelens_register_metrics is a wrapper; registration hooks are called plugin by plugin",
    ),
    "wrapper that does not yield": (
        "@hookimpl(wrapper=True)\ndef nodelens_scored(scores): pass",
        "nodelens_scored is a wrapper and does not yield",
    ),
    "none": (
        "@hookimpl\ndef nodelens_register_metrics(): pass",
        "nodelens_register_metrics must return a list of MetricSpec, not None",
    ),
    "one spec": (
        f"@hookimpl\ndef nodelens_register_metrics(): return {METRIC}",
        "nodelens_register_metrics must return a list of MetricSpec, not MetricSpec",
    ),
    "generator": (
        f"@hookimpl\ndef nodelens_register_metrics(): yield {METRIC}",
        "nodelens_register_metrics must return a list of MetricSpec, not generator",
    ),
    "wrong kind": (
        f"@hookimpl\ndef nodelens_register_reports(): return [{METRIC}]",
        "nodelens_register_reports must return a list of ReportSpec; it holds MetricSpec",
    ),
    "twice": (
        f"@hookimpl\ndef nodelens_register_metrics(): return [{METRIC}, {METRIC}]",
        "nodelens_register_metrics offers 'peak' twice",
    ),
}


@pytest.mark.parametrize(("source", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_hook_is_refused(distribution, source, reason):
    distribution("acme", source)
    plugins = load_plugins(PluginSettings(only=("acme",)))
    record = next(record for record in plugins.records if record.name == "acme:main")
    assert (record.status, record.reason) == ("failed", reason)
    assert "peak" not in plugins.registry.names("metric")


def test_a_hook_that_raises_drops_all_offers_of_its_plugin(distribution):
    source = f"""
    @hookimpl
    def nodelens_register_metrics():
        return [{METRIC}]

    @hookimpl
    def nodelens_register_reports():
        raise KeyError("colour")
    """
    distribution("acme", source)
    plugins = load_plugins(PluginSettings(only=("acme",)))
    record = next(record for record in plugins.records if record.name == "acme:main")
    assert record.reason == "KeyError: colour (acme.py, line 10)"
    assert "peak" not in plugins.registry.names("metric")


ACCEPTED = {
    "subset of arguments": "@hookimpl\ndef nodelens_scored(run): pass",
    "no arguments": "@hookimpl\ndef nodelens_scored(): pass",
    "tuple": f"@hookimpl\ndef nodelens_register_metrics(): return ({METRIC},)",
    "empty": "@hookimpl\ndef nodelens_register_metrics(): return []",
    "other name": "@hookimpl(specname='nodelens_scored')\ndef done(scores): pass",
    "hook of a later version": "@hookimpl(optionalhook=True)\ndef nodelens_later(): pass",
    "wrapper": "@hookimpl(wrapper=True)\ndef nodelens_score(request): return (yield)",
    "a module of that name": "import types\nnodelens_acme = types.ModuleType('nodelens_acme')",
    "unrelated functions": "def score(): pass",
}


@pytest.mark.parametrize("source", ACCEPTED.values(), ids=ACCEPTED)
def test_a_right_hook_is_accepted(distribution, source):
    distribution("acme", source)
    load_plugins(PluginSettings(only=("acme",)), strict=True)


def test_an_object_can_be_a_plugin(distribution):
    source = f"""
    class Plugin:
        @hookimpl
        def nodelens_register_metrics(self):
            return [{METRIC}]

    plugin = Plugin()
    """
    distribution("acme", source, entries="main = acme:plugin")
    assert "peak" in load_plugins(PluginSettings(only=("acme",))).registry.names("metric")


def test_a_class_is_not_a_plugin(distribution):
    distribution("acme", "class Plugin: pass", entries="main = acme:Plugin")
    with pytest.raises(
        PluginError, match="the entry point names a class; name a module or an inst"
    ):
        load_plugins(PluginSettings(only=("acme",)), strict=True)


def test_every_hook_has_a_name():
    assert "nodelens_register_metrics" in hook_names()
    assert len(hook_names()) == 21
