import hashlib

import pytest

from nodelens.storage.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    run.write_text("report.html", "<p>")
    run.write_json("findings/a.b.json", {})
    run.write_manifest()
    return run


def test_every_file_is_listed_with_size_and_hash(run):
    files = run.read_json("manifest.json")["files"]
    assert list(files) == ["findings/a.b.json", "report.html", "run.json"]
    assert files["report.html"] == {"bytes": 3, "sha256": hashlib.sha256(b"<p>").hexdigest()}


def test_an_untouched_folder_has_no_problems(run):
    assert run.check_manifest() == []


def test_writing_the_manifest_again_changes_nothing(run):
    before = run.read_text("manifest.json")
    run.write_manifest()
    assert run.read_text("manifest.json") == before


def test_every_kind_of_change_is_found(run):
    run.write_text("report.html", "<b>")
    run.write_text("findings/a.b.json", "longer")
    run.write_text("new.txt", "")
    run.file("run.json").unlink()
    assert run.check_manifest() == [
        "findings/a.b.json: changed (6 bytes, written with 3)",
        "report.html: changed (same size, other content)",
        "run.json: missing",
        "new.txt: not in the manifest",
    ]


def test_temporary_files_of_a_killed_run_are_no_artifacts(run):
    (run.path / ".tmp-0123").write_text("half")
    assert run.check_manifest() == []


def test_a_run_without_manifest_has_not_ended(tmp_path):
    run = RunFolder.create(tmp_path, "x")
    assert run.check_manifest() == ["manifest.json: missing; the run has not come to its end"]
