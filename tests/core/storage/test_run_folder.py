import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from nodelens.errors import RunError
from nodelens.findings.finding import Finding
from nodelens.storage.run_folder import RunFolder, list_runs


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "outputs", "digits")


def test_a_new_run_has_a_dated_folder_and_says_that_it_is_running(run, tmp_path):
    record = run.record()
    assert run.path.parent == tmp_path / "outputs" / "digits"
    assert re.fullmatch(r"\d{8}-\d{6}", run.path.name)
    assert (record.id, record.name) == (run.path.name, "digits")
    assert run.read_json("run.json")["format"] == 3
    assert (record.status, record.pid, record.error) == ("running", os.getpid(), None)
    assert record.started.endswith("+00:00")


def test_runs_that_start_together_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunFolder.create(tmp_path, "x"), range(24)))
    assert len({run.path for run in runs}) == 24
    stamps = {run.path.name[:15] for run in runs}
    assert any((tmp_path / "x" / f"{stamp}-2").is_dir() for stamp in stamps)


def test_runs_are_listed_by_age(tmp_path):
    for run_id in ("20240101-000000-10", "20240101-000000-2", "20240101-000000", "20231231-235959"):
        RunFolder(tmp_path / "a" / run_id).write_json("run.json", {"format": 2})
    names = [run.path.name for run in list_runs(tmp_path)]
    assert names == [
        "20231231-235959",
        "20240101-000000",
        "20240101-000000-2",
        "20240101-000000-10",
    ]


def test_no_output_folder_means_no_runs(tmp_path):
    assert list_runs(tmp_path / "none") == []


def test_names_cannot_lead_out_of_the_output_folder(tmp_path):
    run = RunFolder.create(tmp_path / "outputs", "../../escape")
    assert run.path.is_relative_to(tmp_path / "outputs")
    assert run.record().name == "../../escape"


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../../x", ""])
def test_paths_cannot_lead_out_of_the_run(run, relative):
    with pytest.raises(RunError, match="is not a path inside a run folder"):
        run.write_text(relative, "x")


def test_the_record_is_updated_field_by_field(run):
    run.update_record(status="finished", summary={"accuracy": 0.9})
    record = run.record()
    assert (record.status, record.summary) == ("finished", {"accuracy": 0.9})
    assert record.name == "digits"


def test_a_run_of_this_process_is_running(run):
    assert run.status() == "running"


def test_a_run_whose_process_is_gone_was_killed(run, monkeypatch):
    def gone(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    assert run.status() == "killed"


def test_a_run_of_another_machine_cannot_be_told(run):
    run.update_record(host="elsewhere")
    assert run.status() == "running or killed"


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_run_that_ended_says_how(run, status):
    run.update_record(status=status, host="elsewhere")
    assert run.status() == status


def test_open_reads_what_create_wrote(run):
    assert RunFolder.open(run.path) == run


def test_open_refuses_other_folders(tmp_path):
    with pytest.raises(RunError, match=r"not a run folder .*; list them: nodelens runs"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("found", [None, 1, 2, "3", True])
def test_open_refuses_other_formats(run, found):
    run.write_json("run.json", run.read_json("run.json") | {"format": found})
    text = f"run record of format {found!r}, this version reads 3; run again, or use the NodeLens "
    with pytest.raises(RunError, match=text + "version that wrote it"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("text", ["", "[]", "{nonsense"])
def test_a_damaged_record_is_an_error_that_names_it(run, text):
    run.write_text("run.json", text)
    with pytest.raises(RunError, match=r"run\.json"):
        RunFolder.open(run.path)


def test_missing_and_undecodable_files_are_named(run):
    with pytest.raises(RunError, match=r"cannot read .*config\.yaml: No such file"):
        run.read_text("config.yaml")
    run.file("config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="not a UTF-8 text"):
        run.read_text("config.yaml")


def test_findings_come_back_in_the_order_of_writing(run):
    for name in ("zeta", "alpha", "mu/nu"):
        run.write_finding(Finding("analysis", name, name.title()))
    run.write_finding(Finding("analysis", "zeta", "Zeta again"))
    assert [finding.title for finding in run.findings()] == ["Zeta again", "Alpha", "Mu/Nu"]
    assert run.has("findings/analysis.zeta.json")


def test_a_finding_that_cannot_be_stored_is_not_listed(run):
    with pytest.raises(RunError, match=r"findings/analysis\.x\.json: data\.a: nan"):
        run.write_finding(Finding("analysis", "x", "X", data={"a": float("nan")}))
    assert run.findings() == []
    assert not run.has("findings/analysis.x.json")


def test_a_full_disk_at_the_start_leaves_no_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="no space left on the disk"):
        RunFolder.create(tmp_path, "x")
    assert list((tmp_path / "x").iterdir()) == []


def test_a_file_in_place_of_the_output_folder_is_an_error(tmp_path):
    (tmp_path / "outputs").write_text("")
    with pytest.raises(RunError, match="a file stands where a folder should be"):
        RunFolder.create(tmp_path / "outputs", "x")


def test_an_unwritable_output_folder_is_an_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match="no permission to write there; change the permissions"):
        RunFolder.create(tmp_path, "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_a_pipe_in_the_place_of_a_file_is_an_error_and_never_waited_for(run):
    run.file("run.json").unlink()
    os.mkfifo(run.file("run.json"))
    with pytest.raises(RunError, match=r"run\.json: not a regular file"):
        run.record()
