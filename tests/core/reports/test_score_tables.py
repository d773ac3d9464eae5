"""Scores of nodes and of layers as CSV and as tables of the report."""

from __future__ import annotations

import json

import numpy as np

from nodelens.reports.html import HtmlReport
from nodelens.reports.json_report import JsonReport
from nodelens.reports.score_tables import layers_csv, layers_table, scores_csv
from nodelens.scoring.scores import Score, Scores
from nodelens.storage.run_folder import RunFolder

SCORES = Scores(
    {("rms", "a"): Score("rms", "a", np.array([1.0, 0.1]), True, "1", np.array([0.5, 0.25]))},
    layers={
        ("depth", "a"): Score("depth", "a", np.array([0.30000000000000004]), False, "nats"),
        ("depth", "b"): Score("depth", "b", np.array([2.0]), False, "nats", np.array([0.5])),
    },
)


def test_nodes_and_layers_have_their_own_files_in_full_precision():
    assert scores_csv(SCORES) == (
        "metric,group,node,value,se,higher_is_better,unit\n"
        "rms,a,0,1.0,0.5,True,1\n"
        "rms,a,1,0.1,0.25,True,1\n"
    )
    assert layers_csv(SCORES) == (
        "metric,group,value,se,higher_is_better,unit\n"
        "depth,a,0.30000000000000004,,False,nats\n"
        "depth,b,2.0,0.5,False,nats\n"
    )


def test_the_report_has_a_table_of_layers_with_standard_errors(tmp_path):
    run = RunFolder.create(tmp_path, "layers")
    SCORES.save(run.file("scores.safetensors"))
    HtmlReport(formats=()).write(run)
    page = run.read_text("report.html")
    assert '<p class="table-title">Layers</p>' in page
    assert "value ± se" in page
    assert "2.00 ± 0.50" in page
    JsonReport().write(run)
    layers = json.loads(run.read_text("summary.json"))["scores"]["layers"]
    assert layers[1] == {
        "metric": "depth",
        "group": "b",
        "value": 2.0,
        "se": 0.5,
        "higher_is_better": False,
        "unit": "nats",
    }


def test_without_layer_metrics_there_is_no_table():
    assert layers_table(Scores({})).rows == ()
