"""Names and version ranges, before anything is imported."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from nodelens.config.schema import PluginSettings
from nodelens.errors import PluginError
from nodelens.plugins.discovery import Candidate
from nodelens.plugins.selection import select


def candidate(distribution: str, version: str = "1.0") -> Candidate:
    return Candidate(distribution, version, EntryPoint("main", "nowhere", "nodelens.plugins"))


INSTALLED = [
    candidate("nodelens-core", "0.1.0"),
    candidate("acme", "1.4.0"),
    candidate("acme-dev", "2.0.dev3"),
    candidate("odd", "first"),
]


@pytest.mark.parametrize(
    "wanted",
    [
        "acme",
        "acme>=1.4",
        "acme ~=1.2, !=1.3.*",
        "ACME==1.4",
        "acme-dev>=1.9",
        "acme.dev",
        "odd",
        "nodelens-core>=0.1",
    ],
)
def test_a_version_that_fits_comes_in(wanted):
    selection = select(INSTALLED, PluginSettings(only=(wanted,)), [])
    assert len([each for each in INSTALLED if not selection.reason(each)]) in (1, 2)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "acme>=2",
            "plugin acme 1.4.0 is installed, but acme>=2 is asked for; "
            "install it with: pip install 'acme>=2'",
        ),
        (
            "nodelens-core>=9",
            "plugin nodelens-core 0.1.0 is installed, but nodelens-core>=9 is asked for; "
            "install it with: pip install 'nodelens-core>=9'",
        ),
        (
            "acmee>=1",
            "plugin acmee is not installed; did you mean 'acme'?; "
            "install it with: pip install 'acmee>=1'",
        ),
        (
            "odd>=1",
            "plugin odd first is installed, but odd>=1 is asked for; "
            "install it with: pip install 'odd>=1'",
        ),
        (
            "acme >> 1",
            "'acme >> 1' is not a distribution with an optional version range, "
            "such as nodelens-metrics>=0.1",
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


def test_blocking_something_unknown_is_an_error():
    with pytest.raises(PluginError, match="cannot leave out 'acne': no such plugin is installed; "):
        select(INSTALLED, PluginSettings(), ["acne"])


@pytest.mark.parametrize("name", ["nodelens-core", "nodelens_core", "nodelens-core:core"])
def test_the_core_cannot_be_left_out(name):
    with pytest.raises(PluginError, match="nodelens-core is the program itself"):
        select(INSTALLED, PluginSettings(), [name])


def test_a_setting_that_keeps_nothing_out_is_only_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        select(INSTALLED, PluginSettings(disable=("acne",)), [])
    assert caplog.messages == ["'acne' is to stay out but is not installed; did you mean 'acme'?"]


def test_blocking_wins_over_naming():
    selection = select(INSTALLED, PluginSettings(only=("acme",)), ["acme"])
    assert selection.reason(INSTALLED[1]) == "blocked by --no-plugin"
