"""Names and version ranges, before anything is imported."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from nodelens.config.plugin_requirements import EXPECTED
from nodelens.config.schema import PluginSettings
from nodelens.errors import PluginError
from nodelens.plugins.discovery import Candidate
from nodelens.plugins.plugin_selection import ADVICE, VARIABLE, select


def candidate(distribution: str, version: str = "1.0", entry: str = "main") -> Candidate:
    return Candidate(distribution, version, EntryPoint(entry, "nowhere", "nodelens.plugins"))


INSTALLED = [
    candidate("nodelens-core", "0.1.0"),
    candidate("acme", "1.4.0"),
    candidate("acme", "1.4.0", "peaks"),
    candidate("acme-dev", "2.0.dev3"),
    candidate("odd", "first"),
]


def loaded(only=(), disable=(), block=()):
    selection = select(INSTALLED, PluginSettings(only, disable), block)
    return [each.name for each in INSTALLED if not selection.reason(each)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("acme", ["acme:main", "acme:peaks"]),
        ("acme>=1.4", ["acme:main", "acme:peaks"]),
        ("acme ~=1.2, !=1.3.*", ["acme:main", "acme:peaks"]),
        ("ACME==1.4", ["acme:main", "acme:peaks"]),
        ("acme:peaks", ["acme:peaks"]),
        ("Acme : peaks >=1.4,<2", ["acme:peaks"]),
        ("acme-dev>=1.9", ["acme-dev:main"]),
        ("acme.dev", ["acme-dev:main"]),
        ("odd", ["odd:main"]),
        ("nodelens-core>=0.1", []),
    ],
)
def test_a_version_that_fits_comes_in(wanted, found):
    assert loaded(only=(wanted,)) == ["nodelens-core:main", *found]


def test_entries_are_named_one_by_one():
    assert loaded(only=("acme:main", "acme:peaks", "odd"))[1:] == [
        "acme:main",
        "acme:peaks",
        "odd:main",
    ]


@pytest.mark.parametrize("name", ["acme:peaks", "acme:peaks>=1", "acme : peaks < 2, >= 1"])
@pytest.mark.parametrize("way", ["block", "disable", "variable"])
def test_one_entry_stays_out(monkeypatch, name, way):
    if way == "variable":
        monkeypatch.setenv(VARIABLE, f"{name}, odd")
    out = {} if way == "variable" else {way: (name, "odd")}
    assert loaded(**out) == ["nodelens-core:main", "acme:main", "acme-dev:main"]


def test_a_version_out_of_range_is_not_kept_out():
    assert "acme:peaks" in loaded(disable=("acme:peaks<1",))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "acme>=2",
            "plugin acme 1.4.0 is installed, but acme>=2 is requested; "
            "install it with: pip install 'acme>=2'",
        ),
        (
            "nodelens-core>=9",
            "plugin nodelens-core 0.1.0 is installed, but nodelens-core>=9 is requested; "
            "install it with: pip install 'nodelens-core>=9'",
        ),
        (
            "acmee>=1",
            "plugin acmee is not installed; did you mean 'acme'?; "
            "install it with: pip install 'acmee>=1'",
        ),
        (
            "odd>=1",
            "plugin odd first is installed, but odd>=1 is requested; "
            "install it with: pip install 'odd>=1'",
        ),
        (
            "acme:peeks",
            "acme has no plugin 'peeks'; did you mean 'peaks'? It has: main, peaks",
        ),
        (
            "acme:peaks>=2",
            "plugin acme 1.4.0 is installed, but acme>=2 is requested; "
            "install it with: pip install 'acme>=2'",
        ),
        (
            "acme >> 1",
            "'acme >> 1' is not a distribution with an optional entry and version range, "
            "such as nodelens-metrics:information>=0.1",
        ),
    ],
)
def test_a_version_that_does_not_fit_says_what_to_install(wanted, message):
    with pytest.raises(PluginError) as caught:
        select(INSTALLED, PluginSettings(only=(wanted,)), [])
    assert str(caught.value) == message


def test_an_empty_list_means_all():
    selection = select(INSTALLED, PluginSettings(), [])
    assert not any(selection.reason(each) for each in INSTALLED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acne", "cannot leave out 'acne': plugin acne is not installed; did you mean 'acme'?"),
        (
            "acme:mein",
            "cannot leave out 'acme:mein': acme has no plugin 'mein'; did you mean 'main'? "
            "It has: main, peaks",
        ),
        (
            "acme:xyz",
            "cannot leave out 'acme:xyz': acme has no plugin 'xyz'; known: main, peaks",
        ),
        (
            "acme:peaks<1",
            "cannot leave out 'acme:peaks<1': plugin acme 1.4.0 is installed, but acme<1 is "
            "requested",
        ),
        ("a b", f"'a b' is not {EXPECTED}"),
    ],
)
def test_blocking_something_unknown_is_an_error(name, message):
    with pytest.raises(PluginError) as caught:
        select(INSTALLED, PluginSettings(), [name])
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["nodelens-core", "nodelens_core", "nodelens-core:core"])
def test_the_core_cannot_be_left_out(name):
    with pytest.raises(PluginError, match="nodelens-core is the program itself"):
        select(INSTALLED, PluginSettings(), [name])


def test_a_setting_that_keeps_nothing_out_is_only_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        select(INSTALLED, PluginSettings(disable=("acne",)), [])
    assert caplog.messages == [
        "'acne' is to be blocked, but plugin acne is not installed; did you mean 'acme'?"
    ]


def test_blocking_wins_over_naming():
    selection = select(INSTALLED, PluginSettings(only=("acme",)), ["acme"])
    assert selection.reason(INSTALLED[1]) == "blocked by --no-plugin"
    assert set(ADVICE) >= {selection.reason(each) for each in INSTALLED[1:]}
