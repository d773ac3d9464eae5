"""``nodelens plugins``."""

from __future__ import annotations

import json

import pytest

TARGETS = """
import click
from attrs import frozen

@hookimpl
def nodelens_register_reports():
    return [{specs}]

@hookimpl
def nodelens_register_commands():
    return [CommandSpec("greet", "acme:greet", "Greets.")]

@click.command()
def greet(): pass

@frozen
class Slides:
    pages: int = 3
    def write(self, run): raise NotImplementedError

class Bare:
    def write(self, run): raise NotImplementedError
"""


def install(distribution, *targets):
    specs = [f'ReportSpec("r{i}", "{target}", "A report.")' for i, target in enumerate(targets)]
    distribution("acme", TARGETS.format(specs=", ".join(specs)))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Keep the siblings out, so that only the core and what a test installs is there."""
    names = ("nodelens-metrics", "nodelens-pruning", "nodelens-hf")
    monkeypatch.setattr("nodelens.plugins.manager.discover", without(*names))


def without(*names):
    from nodelens.plugins.discovery import discover

    return lambda: [each for each in discover() if each.distribution not in names]


def test_the_table_says_what_became_of_each(nodelens, distribution):
    install(distribution, "acme:Slides")
    distribution("bad", "raise RuntimeError('no luck')")
    outcome = nodelens("plugins")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:5] == [
        "acme 1.0",
        "  main  loaded   1 report, 1 command",
        "",
        "bad 1.0",
        "  main  failed   RuntimeError: no luck (bad.py, line 3)",
    ]
    assert max(map(len, lines)) <= 80


ENTRIES = """
class Peaks:
    @hookimpl
    def nodelens_register_metrics(self):
        return [MetricSpec(name, "acme:Peak", "A peak.") for name in ("high", "low")]

class Slides:
    @hookimpl
    def nodelens_register_reports(self):
        return [ReportSpec("slides", "acme:Slides", "Slides.")]

peaks, slides = Peaks(), Slides()
"""


def test_a_distribution_is_listed_with_each_of_its_plugins(nodelens, distribution):
    distribution("acme", ENTRIES, entries="all_peaks = acme:peaks\nslides = acme:slides")
    listed = nodelens("--no-plugin", "acme:slides>=1", "plugins").out
    assert listed.startswith(
        "acme 1.0\n"
        "  all_peaks  loaded   2 metrics\n"
        "  slides     blocked  blocked by --no-plugin\n"
        "\n"
    )


def test_a_blocked_plugin_is_shown_with_its_reason(nodelens, distribution):
    distribution("bad", "raise RuntimeError('no luck')")
    outcome = nodelens("--no-plugin", "bad", "plugins")
    assert "bad 1.0\n  main  blocked  blocked by --no-plugin\n" in outcome.out


def test_json_holds_every_record(nodelens, distribution):
    install(distribution, "acme:Slides")
    records = json.loads(nodelens("plugins", "--json").out)["plugins"]
    assert records[0]["offers"] == {"report": ["r0"], "command": ["greet"]}
    assert records[1]["name"] == "nodelens-core:core"


def test_check_imports_every_target(nodelens, distribution):
    install(distribution, "acme:Slides")
    outcome = nodelens("plugins", "--check")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["report", "acme:r0", "ok"] in lines
    assert ["command", "acme:greet", "ok"] in lines


BAD = {
    "acme_not:There": "needs the module 'acme_not', which is not installed",
    "acme:Nothing": "has no attribute 'Nothing'",
    "acme:greet": "acme:greet is not a class",
    "acme:Bare": "not an attrs class",
    "acme:ReportSpec": "ReportSpec lacks write",
}


@pytest.mark.parametrize(("target", "problem"), BAD.items(), ids=BAD)
def test_check_reports_what_cannot_be_used(nodelens, distribution, target, problem):
    install(distribution, "acme:Slides", target)
    outcome = nodelens("plugins", "--check", "--json")
    assert outcome.code == 1
    checks = {check["name"]: check["problem"] for check in json.loads(outcome.out)["checks"]}
    assert checks["acme:r0"] is None
    assert problem in checks["acme:r1"]


def test_check_fails_for_a_failed_plugin(nodelens, distribution):
    distribution("bad", "raise RuntimeError('no luck')")
    assert nodelens("plugins", "--check").code == 1


def test_strict_is_an_error(nodelens, distribution):
    distribution("bad", "raise RuntimeError('no luck')")
    outcome = nodelens("--strict-plugins", "plugins")
    assert outcome.code == 2
    assert outcome.err.startswith("error: plugin bad:main 1.0 failed: RuntimeError: no luck")
