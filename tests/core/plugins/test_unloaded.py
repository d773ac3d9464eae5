"""What is said of a name that no loaded plugin offers."""

from __future__ import annotations

import sys

import pytest

from nodelens.config.schema import Component, PluginSettings
from nodelens.errors import ConfigError, UnknownNameError
from nodelens.plugins.manager import load_plugins

FAMILY = "raise RuntimeError('imported')\ndef nodelens_register_metrics(): pass\n"
SLIDES = """
raise RuntimeError('imported')
def nodelens_register_reports():
    return [ReportSpec('deck', 'acme.deck:Deck', 'A deck, not a high_peak.')]
"""
ENTRIES = "peaks = acme.peaks.plugin\ntails = acme.tails.plugin\nslides = acme.slides"


@pytest.fixture
def families(distribution):
    """A distribution of two families, whose names stand in their classes, and a module."""
    site = distribution("acme", entries=ENTRIES)
    (site / "acme.py").unlink()
    for family, source in {
        "peaks": "@frozen\nclass HighPeak:\n    pass\n",
        "tails": "@frozen\nclass LongTail:\n    info = MetricInfo(name='heavy_tail')\n",
    }.items():
        folder = site / "acme" / family
        folder.mkdir(parents=True)
        (folder / "plugin.py").write_text(FAMILY)
        (folder / "__init__.py").touch()
        (folder / "shapes.py").write_text(source)
    (site / "acme" / "__init__.py").touch()
    (site / "acme" / "slides.py").write_text(SLIDES)


def message(kind, name, **settings):
    with pytest.raises(UnknownNameError) as caught:
        load_plugins(**settings).registry.offer(kind, name)
    assert "acme" not in sys.modules
    return str(caught.value).partition("; offered by")[2] or str(caught.value)


OFF = "not among the plugins that the config names; add it to 'plugins:'"
DISABLED = "disabled by the config; take it out of plugins.disable"
BLOCKED = "blocked by --no-plugin; leave that --no-plugin out"


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("high_peak", {"block": ["acme"]}, f"acme:peaks ({BLOCKED})"),
        ("acme:high_peak", {"block": ["Acme"]}, f"acme:peaks ({BLOCKED})"),
        (
            "heavy_tail",
            {"settings": PluginSettings(only=("nodelens-core",))},
            f"acme:tails ({OFF})",
        ),
        ("long_tail", {"settings": PluginSettings(disable=("acme",))}, f"acme:tails ({DISABLED})"),
    ],
)
@pytest.mark.usefixtures("families")
def test_the_plugin_whose_sources_have_the_name_is_named(name, settings, text):
    assert message("metric", name, **settings) == f" what is not loaded: {text}"


@pytest.mark.usefixtures("families")
def test_a_name_is_looked_for_among_plugins_of_its_kind():
    told = message("report", "deck", block=["acme"])
    assert told == f" what is not loaded: acme:slides ({BLOCKED})"


@pytest.mark.parametrize(
    ("kind", "absent"),
    [
        ("metric", "acme:peaks, acme:tails"),
        ("report", "acme:slides"),
        ("dataset", "acme:peaks, acme:slides, acme:tails"),
    ],
)
@pytest.mark.usefixtures("families")
def test_what_is_not_loaded_of_a_kind_is_named_where_no_source_has_the_name(kind, absent):
    told = message(kind, "flat", block=["acme"])
    assert told.endswith(f"; not loaded: {absent} ({BLOCKED})")


@pytest.mark.usefixtures("families")
def test_an_entry_of_that_name_is_what_is_meant():
    told = message("metric", "tails", block=["acme"])
    assert told == f" what is not loaded: acme:tails ({BLOCKED})"


def test_a_composite_names_the_plugin_of_a_part_that_is_not_loaded(distribution):
    pytest.importorskip("nodelens_metrics")
    distribution("acme", "'high_peak'\nraise RuntimeError('imported')")
    registry = load_plugins(block=["acme"]).registry
    from nodelens.config.metric_dependencies import with_parts

    parts = [{"name": "high_peak"}, {"name": "taylor"}]
    metric = registry.build("metric", Component("composite", {"parts": parts}))
    with pytest.raises(ConfigError) as caught:
        with_parts({"composite": metric}, str, registry.names("metric"), registry.unloaded)
    text = str(caught.value)
    assert text.startswith("metrics: 'composite' is made of 'high_peak', which is no metric; ")
    assert text.endswith(f"; offered by what is not loaded: acme:main ({BLOCKED})")
