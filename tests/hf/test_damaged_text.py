"""Every fault of a text file or of records is an error with its name, most with their line."""

from __future__ import annotations

import io
import json
import os
import random

import pytest

from nodelens.errors import DataError, NodelensError
from nodelens_hf.documents import TextFiles, documents, find_files
from nodelens_hf.multiple_choice_task import records_of_lines
from nodelens_hf.records import SUFFIXES

LINES = [{"text": f"words of {number} ünd", "label": "a"} for number in range(20)]


def read(path):
    return list(documents(TextFiles((path,))))


def content(suffix: str) -> bytes:
    if suffix == ".jsonl":
        return "\n".join(json.dumps(each, ensure_ascii=False) for each in LINES).encode()
    if suffix == ".json":
        return json.dumps(LINES, ensure_ascii=False, indent=1).encode()
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        file = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(LINES), file)
        return file.getvalue()
    return "\n\n".join(each["text"] for each in LINES).encode()


@pytest.mark.parametrize("suffix", [".txt", *SUFFIXES])
def test_truncated_and_flipped_files_are_read_or_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    whole = content(suffix)
    path.write_bytes(whole)
    assert [each.text for each in read(path)] == [each["text"] for each in LINES]
    draw, refused = random.Random(suffix), 0
    for number in range(120):
        data = bytearray(whole)
        if number % 2:
            data = data[: draw.randrange(1, len(data))]
        for _ in range(3):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            read(path)
        except NodelensError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 20


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".json"])
def test_a_byte_order_mark_is_no_text(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + content(suffix))
    assert read(path)[0].text == LINES[0]["text"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"one\ntwo\nthr\xe9e\n", r"line 3: not UTF-8 text \(the byte e9\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}', r"line 2: not UTF-8 text \(the byte ff\)"),
        ("a.json", b'["a",\n"\xff"]', r"line 2: not UTF-8 text \(the byte ff\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}', r"line 2: half a character \(.* d800\)"),
        ("a.json", b'["\\uDC00"]', r"half a character \(the lone surrogate dc00\)"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON that can be read"),
        ("a.jsonl", b"1" * 5_000, "line 1: not JSON that can be read"),
    ],
)
def test_what_is_no_text_is_named_by_line(tmp_path, name, data, said):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}(, |: ){said}"):
        read(path)


def test_pairs_of_surrogates_are_one_character(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00"}')
    assert read(path)[0].text == "\N{GRINNING FACE}"


def test_a_line_longer_than_any_record_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("nodelens_hf.text_lines.LONGEST", 100)
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n' + json.dumps({"text": "x" * 500}))
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: longer than 100 characters"):
        list(records_of_lines(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_pipes_in_a_folder_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "a.txt").write_text("a")
    assert find_files([str(tmp_path)]) == (tmp_path / "a.txt",)
    with pytest.raises(DataError, match="matches no file"):
        find_files([str(tmp_path / "pipe.txt")])
