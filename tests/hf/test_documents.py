from __future__ import annotations

import json
import sys

import pytest

from nodelens.errors import DataError
from nodelens_hf import documents as module
from nodelens_hf.documents import TextFiles, content_key, documents, find_files, parts


def texts(path, **options):
    return [each.text for each in documents(TextFiles((path,), **options))]


def test_a_text_is_read_as_paragraphs(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n\none\ntwo\n\n  \nthree\n\n\nfour")
    assert texts(file) == ["one\ntwo", "three", "four"]


def test_a_paragraph_without_end_comes_in_parts(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("x" * (1 << 21) + "y\n\nnext")
    found = [(len(each.text), each.continues) for each in parts(TextFiles((file,)))]
    assert found == [(1 << 20, False), (1 << 20, True), (1, True), (4, False)]
    assert list(map(len, texts(file))) == [1 << 20, 4]


def test_a_line_as_long_as_what_is_read_at_once_ends_no_paragraph(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 10)
    file = tmp_path / "a.txt"
    file.write_text("a" * 10 + "\nbbb\n\nccc")
    found = [(each.text, each.continues) for each in parts(TextFiles((file,)))]
    assert found == [("a" * 10, False), ("\nbbb", True), ("ccc", False)]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\nmore"])
def test_parts_of_a_paragraph_make_it_up(tmp_path, monkeypatch, end):
    monkeypatch.setattr(module, "PIECE", 8)
    file = tmp_path / "a.txt"
    text = "one\ntwo\nthree\nfour five six\nseven\n8910111"
    file.write_text(text + end)
    found = list(parts(TextFiles((file,))))
    assert len(found) > 3
    assert "".join(each.text for each in found) == text + end.replace("\n", "")
    assert [each.continues for each in found].count(False) == (2 if "more" in end else 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "one"}\n\n{"text": "two", "other": 1}\n{"text": " "}\n'),
        ("a.json", '[{"text": "one"}, {"text": "two"}]'),
        ("a.json", '{"x": {"text": "one"}, "y": {"text": "two"}}'),
        ("a.json", '["one", "two"]'),
    ],
    ids=["lines", "list", "mapping", "texts"],
)
def test_records_are_read_in_every_form(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert texts(tmp_path / name) == ["one", "two"]


def test_parquet_is_read_row_by_row(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"body": ["one", "two"], "kind": [1, 2], "other": [0.5, 1.5]})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = list(documents(TextFiles((tmp_path / "a.parquet",), "body", "kind")))
    assert [(each.text, each.label) for each in found] == [("one", "1"), ("two", "2")]
    with pytest.raises(DataError, match=r"row 0: no text under 'text' \(there is: body, kind"):
        texts(tmp_path / "a.parquet")


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_text("nothing")
    with pytest.raises(DataError, match=r"a\.parquet: not a parquet file"):
        texts(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_text("")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'nodelens-hf\[parquet\]'"):
        texts(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "one"}\n{"text"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"body": "one"}', r"line 1: no text under 'text' \(there is: body\)"),
        ("a.jsonl", "5", r"line 1: no text under 'text' \(there is: int\)"),
        ("a.json", "[1,", "a.json, line 1: not JSON"),
        ("a.json", '"one"', "expected a list of records or of texts"),
        ("a.txt", b"\xff\xfe", r"a.txt, line 1: not UTF-8 text \(the byte ff\)"),
    ],
)
def test_mistakes_name_file_and_place(tmp_path, name, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        texts(tmp_path / name)


def test_labels_come_from_a_field_or_from_the_folder(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "topic": 3}')
    (tmp_path / "sport").mkdir()
    (tmp_path / "sport/b.txt").write_text("two")
    source = TextFiles((tmp_path / "a.jsonl", tmp_path / "sport/b.txt"), label="topic")
    assert [each.label for each in documents(source)] == ["3", "sport"]
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')
    with pytest.raises(DataError, match="no label under 'topic'"):
        list(documents(source))


def test_folders_and_patterns_find_files_once_in_order(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.jsonl", "d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = find_files([str(tmp_path), str(tmp_path / "*.txt")])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.jsonl"]
    with pytest.raises(DataError, match=r"nowhere/\*\.txt matches no file"):
        find_files(["nowhere/*.txt"])


def test_the_key_of_a_cache_is_what_the_files_hold(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one")
    source = TextFiles((file,))
    before = content_key(source, "tokenizer")
    file.write_text("one")
    assert content_key(source, "tokenizer") == before
    assert content_key(source, "other") != before
    file.write_text("two")
    assert content_key(source, "tokenizer") != before
    assert json.dumps(before)
