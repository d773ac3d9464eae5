"""``nodelens report``."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodelens.storage.run_folder import RunFolder

SOURCE = """
from attrs import frozen

@hookimpl
def nodelens_register_reports():
    return [ReportSpec("note", "acme:Note", "One line.")]

@frozen
class Note:
    text: str = "plain"

    def write(self, run):
        run.write_text("note.txt", self.text)
        return [run.file("note.txt")]
"""
CONFIG = "model: gone\ndata: gone\nreports: [{name: note, text: special}]\n"


@pytest.fixture
def report(nodelens, distribution):
    """Return the program; the folder holds one run whose model no plugin offers any more."""
    distribution("acme", SOURCE)
    run = RunFolder.create(Path("outputs"), "small")
    run.write_text("config.yaml", CONFIG)

    def start(*args):
        return nodelens("-q", "report", *args)

    return start


def the_run() -> Path:
    (path,) = Path("outputs").glob("*/*")
    return path


def test_the_reports_of_the_config_are_written_again(report):
    outcome = report("latest")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{the_run() / 'note.txt'}\n"
    assert (the_run() / "note.txt").read_text() == "special"


def test_a_path_names_the_run(report):
    assert report(str(the_run())).code == 0


def test_a_format_can_be_chosen(report):
    outcome = report("latest", "--format", "json")
    assert outcome.out == f"{the_run() / 'summary.json'}\n"
    assert not (the_run() / "note.txt").exists()


def test_a_chosen_format_keeps_the_options_of_the_config(report):
    report("latest", "--format", "note")
    assert (the_run() / "note.txt").read_text() == "special"


def test_the_manifest_is_kept_up_to_date(report):
    run = RunFolder(the_run())
    run.write_manifest()
    report("latest")
    assert run.check_manifest() == []


def test_a_run_of_an_earlier_format_is_refused(report):
    run = RunFolder(the_run())
    run.write_json("run.json", run.read_json("run.json") | {"format": 1})
    for named in ("latest", str(the_run())):
        outcome = report(named)
        assert (outcome.code, outcome.out) == (2, "")
        text = (
            "run record of format 1, this version reads 3; run again, or use the NodeLens version"
        )
        assert outcome.err.startswith(f"error: {the_run()}/run.json: {text}")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "error: nowhere: not a run folder"),
        (["latest", "--output", "nowhere"], "error: no runs in nowhere; name the folder with --ou"),
        (["latest", "--format", "htm"], "error: no report is called 'htm'; did you mean 'html'?"),
    ],
)
def test_mistakes(report, args, message):
    outcome = report(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(message)
