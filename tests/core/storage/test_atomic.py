import errno
import os
from pathlib import Path

import pytest

from nodelens.errors import RunError
from nodelens.storage.atomic import write_bytes, write_text


def everything_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


def disk_full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_writes_the_content_and_makes_missing_folders(tmp_path):
    write_bytes(tmp_path / "a" / "b.bin", b"\0\1")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\0\1"
    assert everything_in(tmp_path) == ["a", "b.bin"]


def test_text_is_utf8_and_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "t.txt", "é\r\n→\n")
    assert (tmp_path / "t.txt").read_bytes() == "é\r\n→\n".encode()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "run.json"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, step, disk_full)
    with pytest.raises(RunError) as caught:
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert everything_in(tmp_path) == ["run.json"]
    assert str(caught.value) == (
        f"cannot write {path}: no space left on the disk; "
        "free some space or choose another folder with output=FOLDER"
    )


def test_full_disk_on_a_part_of_the_content_leaves_nothing(tmp_path, monkeypatch):
    real_open = Path.open

    def open_full(path, *arguments):
        file = real_open(path, *arguments)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(self, data):
                file.write(data[:1])
                disk_full()

        return Full()

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(RunError, match="no space left on the disk"):
        write_bytes(tmp_path / "x", b"content")
    assert everything_in(tmp_path) == []


def test_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "x", b"content")
    assert everything_in(tmp_path) == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(RunError, match="a file stands where a folder should be; move that file"):
        write_bytes(tmp_path / "outputs" / "x", b"")


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(RunError, match="a folder stands where a file should be"):
        write_bytes(tmp_path / "x", b"")
    assert everything_in(tmp_path) == ["x", "y"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "no permission to write there; change the permissions"),
        (errno.EROFS, "the disk is read-only; choose another folder"),
        (errno.EDQUOT, "the disk quota is used up; free some space"),
        (errno.ENAMETOOLONG, "the file name is too long; choose shorter names"),
        (errno.EIO, "Input/output error; choose another folder"),
    ],
)
def test_reasons_say_what_to_do(tmp_path, monkeypatch, number, reason):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=reason):
        write_bytes(tmp_path / "x", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunError, match="no permission to write there"):
            write_bytes(tmp_path / "x", b"")
    finally:
        tmp_path.chmod(0o755)
    assert everything_in(tmp_path) == []
