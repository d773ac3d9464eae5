"""The plugins of all installed distributions."""

from __future__ import annotations

from collections import Counter

from nodelens.plugins.manager import load_plugins

RECORDS = load_plugins().records


def test_every_plugin_is_loaded_and_offers_something():
    assert {record.status for record in RECORDS} == {"loaded"}
    assert all(record.specs for record in RECORDS)


def test_names_are_unique_across_the_plugins_of_a_distribution():
    names = Counter(
        (record.distribution, spec.kind, spec.name) for record in RECORDS for spec in record.specs
    )
    assert [name for name, count in names.items() if count > 1] == []
