import json
import subprocess
import sys

from nodelens.interfaces.report import Report
from nodelens.reports.json_report import JsonReport
from nodelens.storage.run_folder import RunFolder


def test_it_holds_what_the_run_found(run):
    (path,) = JsonReport().write(run)
    summary = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "summary.json"
    assert (summary["name"], summary["status"], summary["error"]) == ("digits", "finished", None)
    assert summary["headline"][0] == "The model was trained for 10 epochs; epoch 9 was kept."
    assert summary["evaluation"]["accuracy_se"] == 0.0087
    assert summary["findings"]["training.train"] == {"epochs": 10, "best_epoch": 9}
    assert summary["components"]["backend"] == {"cnn": "nodelens-core"}
    assert summary["scores"]["samples"] == 1024
    assert len(summary["warnings"]) == 3


def test_without_a_summary_the_evaluations_are_the_key_numbers(run):
    run.update_record(summary={})
    JsonReport().write(run)
    assert run.read_json("summary.json")["evaluation"]["test"]["accuracy"] == 0.9722


def test_a_run_that_ended_at_once_gets_a_summary_too(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    run.update_record(status="failed", error="DataError: no such file")
    JsonReport().write(run)
    summary = run.read_json("summary.json")
    assert (summary["status"], summary["error"]) == ("failed", "DataError: no such file")
    assert summary["scores"] is None


def test_it_is_a_report():
    assert isinstance(JsonReport(), Report)


def test_the_report_classes_import_nothing_heavy():
    program = (
        "import sys, nodelens.reports.html, nodelens.reports.json_report;"
        "heavy = {'torch', 'numpy', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
