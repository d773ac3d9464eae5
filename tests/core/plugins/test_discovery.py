"""Finding plugins among distributions of every condition."""

from __future__ import annotations

import pytest

from nodelens.config.schema import PluginSettings
from nodelens.plugins.discovery import discover
from nodelens.plugins.manager import load_plugins


def found(prefix: str) -> list[str]:
    return [each.name for each in discover() if each.distribution.startswith(prefix)]


def test_every_entry_of_a_distribution_is_found(distribution):
    distribution("acme", entries="b = acme\na = acme:plugin")
    assert found("acme") == ["acme:a", "acme:b"]


def test_the_core_is_found_once():
    assert found("nodelens-core") == ["nodelens-core:core"]


def test_the_core_is_found_without_being_installed(monkeypatch):
    monkeypatch.setattr("nodelens.plugins.discovery.distributions", list)
    assert [each.name for each in discover()] == ["nodelens-core:core"]
    assert load_plugins().records[0].status == "loaded"


def test_the_first_of_two_versions_on_the_path_counts(distribution, tmp_path, monkeypatch):
    distribution("acme", version="1.0")
    newer = tmp_path / "newer"
    info = newer / "Acme-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(newer)
    assert found("acme") == []
    (info / "entry_points.txt").write_text("[nodelens.plugins]\nnew = acme\n")
    assert found("acme") == ["acme:new"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[nodelens.plugins]\nx\n", ["acme:entry_points.txt"]),
        ("[console_scripts]\nx\n", []),
        ("[nodelens.plugins.other]\na = acme\n", []),
    ],
)
def test_broken_entry_points_disturb_nobody(distribution, text, names):
    site = distribution("acme")
    (site / "acme-1.0.dist-info" / "entry_points.txt").write_text(text)
    assert found("acme") == names


def test_unreadable_entry_points_are_a_failure_of_their_distribution(distribution):
    distribution("acme", entries="no equals sign")
    (record,) = (each for each in load_plugins(PluginSettings()).records if "acme" in each.name)
    assert (record.status, record.reason) == ("failed", "its entry_points.txt cannot be read")


def test_an_entry_that_names_nothing_fails_alone(distribution):
    distribution("acme", entries="a = not valid!\nb = acme")
    records = [each for each in load_plugins().records if each.distribution == "acme"]
    assert [each.status for each in records] == ["failed", "loaded"]


def test_a_leftover_without_metadata_is_no_plugin(distribution):
    site = distribution("acme")
    (site / "acme-1.0.dist-info" / "METADATA").unlink()
    assert found("acme") == []


def test_a_distribution_without_a_version_is_found(distribution):
    site = distribution("acme")
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Name: acme\n")
    (candidate,) = (each for each in discover() if each.distribution == "acme")
    assert candidate.version == "unknown"
