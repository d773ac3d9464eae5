"""Which plugins come in, and what becomes of those that do not."""

from __future__ import annotations

import json
import re
import sys

import pytest

from nodelens.cli.main import main
from nodelens.config.schema import PluginSettings
from nodelens.errors import PluginError
from nodelens.plugins.manager import Plugins, load_plugins
from nodelens.plugins.plugin_record import PluginRecord

OFFER = """
@hookimpl
def nodelens_register_metrics():
    return [MetricSpec(name="peak", target="acme.peak:Peak", summary="Largest activation.")]
"""


def only(*names: str) -> PluginSettings:
    return PluginSettings(only=names)


def record_of(plugins: Plugins, name: str) -> PluginRecord:
    return next(record for record in plugins.records if record.name == name)


def test_a_plugin_is_known_by_distribution_and_entry(distribution):
    distribution("Acme.Metrics", OFFER, version="1.2", entries="peaks = Acme.Metrics")
    site = distribution("acme-two", OFFER, version="1.2", entries="peaks = acme_two")
    assert site.is_dir()
    record = record_of(load_plugins(only("acme-two")), "acme-two:peaks")
    assert (record.distribution, record.version, record.status) == ("acme-two", "1.2", "loaded")
    assert [spec.name for spec in record.specs] == ["peak"]


def test_plugins_are_sorted_by_distribution_then_entry(distribution):
    distribution("beta", "", entries="b = beta\na = beta")
    distribution("alpha", "")
    names = [record.name for record in load_plugins(only("alpha")).records]
    assert names == sorted(names)
    assert names.index("alpha:main") < names.index("beta:a") < names.index("beta:b")


def test_the_core_is_there_without_being_asked_for(distribution):
    distribution("alpha", "")
    plugins = load_plugins(only("alpha"))
    assert record_of(plugins, "nodelens-core:core").status == "loaded"
    assert "digits" in plugins.registry.names("dataset")


BROKEN = {
    "raises": ("raise RuntimeError('no\\n  luck')", r"RuntimeError: no luck \(acme\.py, line 3\)"),
    "dependency": ("import not_there.at_all", "needs the module 'not_there', which is not"),
    "syntax": ("def", r"SyntaxError: invalid syntax \(.*acme\.py, line 3\)"),
    "exits": ("raise SystemExit(3)", r"SystemExit: 3"),
    "interrupts": (
        "raise KeyboardInterrupt('mine')",
        r"KeyboardInterrupt: mine \(acme\.py, line 3\)",
    ),
    "ends": ("class End(BaseException): ...\nraise End('far')", r"End: far \(acme\.py, line 4\)"),
    "offers and ends": (
        "@hookimpl\ndef nodelens_register_metrics():\n    raise KeyboardInterrupt",
        r"KeyboardInterrupt \(acme\.py, line 5\)",
    ),
    "spec": (
        "@hookimpl\ndef nodelens_register_metrics():\n    return [MetricSpec('P', 'a:B', 'x')]",
        "ValueError: 'name' must match regex",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_becomes_a_record_in_one_line(distribution, source, reason):
    distribution("acme", source)
    distribution("other", OFFER)
    plugins = load_plugins(only("acme", "other"))
    record = record_of(plugins, "acme:main")
    assert record.status == "failed"
    assert "\n" not in record.reason
    assert re.search(reason, record.reason), record.reason
    assert record_of(plugins, "other:main").status == "loaded"


def test_an_entry_point_that_leads_nowhere_fails(distribution):
    distribution("acme", "", entries="main = acme.plugin")
    reason = record_of(load_plugins(only("acme")), "acme:main").reason
    assert reason == "needs the module 'acme.plugin', which is not installed"


def test_a_missing_attribute_fails(distribution):
    distribution("acme", "", entries="main = acme:plugin")
    reason = record_of(load_plugins(only("acme")), "acme:main").reason
    assert reason == "AttributeError: module 'acme' has no attribute 'plugin'"


def test_two_entry_points_of_one_module_are_one_plugin(distribution):
    distribution("acme", OFFER, entries="a = acme\nb = acme")
    plugins = load_plugins(only("acme"))
    assert record_of(plugins, "acme:a").status == "loaded"
    assert record_of(plugins, "acme:b").reason == "another entry point brings the same plugin"
    assert len(plugins.registry.match("metric", "acme:peak")) == 1


def test_what_a_plugin_prints_goes_to_stderr(distribution, capsys):
    distribution("acme", "print('hello')")
    load_plugins(only("acme"))
    assert capsys.readouterr() == ("", "hello\n")


def test_strict_turns_failures_into_an_error(distribution):
    distribution("acme", "raise RuntimeError('no luck')")
    with pytest.raises(PluginError, match=r"plugin acme:main 1\.0 failed: RuntimeError: no luck"):
        load_plugins(only("acme"), strict=True)


def test_strict_does_not_mind_a_blocked_plugin(distribution):
    distribution("acme", "raise RuntimeError('no luck')")
    distribution("other", "")
    load_plugins(only("other"), strict=True)


BLOCKS = {
    "argument": ({"block": ["acme"]}, "", "blocked by --no-plugin"),
    "entry": ({"block": ["acme:main"]}, "", "blocked by --no-plugin"),
    "spelling": ({"block": ["Acme"]}, "", "blocked by --no-plugin"),
    "variable": ({}, " acme, other:main,", "blocked by NODELENS_BLOCK_PLUGINS"),
    "disable": (
        {"settings": PluginSettings(disable=("acme",))},
        "",
        "disabled by the config",
    ),
    "only": (
        {"settings": PluginSettings(only=("nodelens-core",))},
        "",
        "not among the plugins that the config names",
    ),
}


@pytest.mark.parametrize(("arguments", "variable", "reason"), BLOCKS.values(), ids=BLOCKS)
def test_a_blocked_plugin_is_never_imported(distribution, monkeypatch, arguments, variable, reason):
    distribution("acme", "raise RuntimeError('imported')")
    distribution("other", "")
    monkeypatch.setenv("NODELENS_BLOCK_PLUGINS", variable)
    record = record_of(load_plugins(**arguments), "acme:main")
    assert (record.status, record.reason) == ("blocked", reason)
    assert "acme" not in sys.modules


def test_one_entry_of_a_distribution_can_be_blocked(distribution):
    distribution("acme", OFFER, entries="a = acme\nb = acme")
    plugins = load_plugins(only("acme"), block=["acme:a"])
    assert record_of(plugins, "acme:a").status == "blocked"
    assert record_of(plugins, "acme:b").status == "loaded"


def test_a_record_says_what_is_offered_as_json(distribution):
    distribution("acme", OFFER)
    assert record_of(load_plugins(only("acme")), "acme:main").summary() == {
        "name": "acme:main",
        "distribution": "acme",
        "version": "1.0",
        "status": "loaded",
        "reason": None,
        "offers": {"metric": ["peak"]},
    }


ROW = """
from nodelens.interfaces.operator import Operator
from nodelens.plugins.specs import OperatorSpec

GATE = Operator("acme::gate", lambda op: [])

@hookimpl
def nodelens_register_operators():
    return [OperatorSpec("gate", f"{__name__}:GATE", "A fused gate.")]
"""


def test_the_rows_of_all_plugins_are_handed_out(distribution):
    distribution("alpha", ROW)
    assert [row.name for row in load_plugins(only("alpha")).operators()] == ["acme::gate"]


def test_two_rows_of_one_operator_are_an_error(distribution):
    distribution("alpha", ROW)
    distribution("beta", ROW)
    plugins = load_plugins(only("alpha", "beta"))
    with pytest.raises(PluginError, match="alpha:main and beta:main have a row of operator acme"):
        plugins.operators()


def test_a_row_in_the_place_of_the_cores_is_told_once(distribution):
    distribution("alpha", ROW.replace("acme::gate", "relu"))
    plugins = load_plugins(only("alpha"))
    text = "plugin alpha:main: its row of operator relu takes the place of the core's"
    assert [row.name for _ in range(2) for row in plugins.operators()] == ["relu", "relu"]
    assert plugins.warnings == [text]


WRONG_ROWS = {
    "a number for a name": ("Operator(3, lambda op: [])", "'name' must be <class 'str'>"),
    "a name with aten": ('Operator("aten::relu", lambda op: [])', "'name' must match regex"),
    "no function": ('Operator("acme::gate", None)', "'rule' must be callable"),
    "no operator": ('Operator("no_such_thing", lambda op: [])', "torch has no operator 'no_such_"),
    "no entries": ('Operator("acme::g", lambda op: [], "all")', "'entries' must be in"),
    "no operand": ('Operator("acme::g", lambda op: [], operands=(3,))', "Operand"),
    "no average": ('Operator("acme::g", lambda op: [], average=3)', "'average' must be callable"),
    "no row": ("[]", "is not an Operator"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_row_that_cannot_be_meant_is_found_by_the_check_of_plugins(distribution, case, capsys):
    made, reason = WRONG_ROWS[case]
    distribution("alpha", ROW.replace('Operator("acme::gate", lambda op: [])', made))
    assert main(["plugins", "--check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    said = [each["problem"] for each in found["checks"] if each["name"] == "alpha:gate"]
    said += [each["reason"] for each in found["plugins"] if each["name"] == "alpha:main"]
    assert any(reason in (each or "") for each in said)
