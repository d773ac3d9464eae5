"""What a report says of how a run came about."""

from __future__ import annotations

from attrs import evolve

from nodelens.reports.provenance_tables import tables
from nodelens.storage.run_folder import RunFolder
from nodelens.storage.run_record import PatternRecord


def test_what_patterns_left_out_is_told_with_the_reasons(tmp_path):
    patterns = PatternRecord(
        asked=["weight_*", "taylor", {"name": "composite", "parts": ["taylor"]}, "family:paths"],
        taken=("weight_l1",),
        left_out={"conductance": "needs a loss", "weight_alpha": "no group can be scored"},
    )
    run = RunFolder.create(tmp_path, "x")
    (table,) = tables(run, evolve(run.record(), patterns=patterns))
    assert table.title == "Metrics that patterns left out (weight_*, family:paths)"
    assert table.rows == (
        ("conductance", "needs a loss"),
        ("weight_alpha", "no group can be scored"),
    )


def test_runs_without_patterns_have_no_such_table(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    assert list(tables(run, run.record())) == []
