from __future__ import annotations

import gc
import tempfile
import tracemalloc

import numpy as np
import pytest
from attrs import evolve

from nodelens.errors import DataError
from nodelens_hf import chunked_tokenizer, documents
from nodelens_hf.documents import TextFiles
from nodelens_hf.stream import token_stream
from nodelens_hf.tokenizers import Tokens, load_tokenizer

BYTES = load_tokenizer("bytes")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    return TextFiles((tmp_path / "a.txt",))


def text_of(stream):
    return BYTES.decode(stream.ids.tolist())


def test_documents_are_joined(source):
    stream = token_stream(source, BYTES, "--", None)
    assert text_of(stream) == "one--two"
    assert (stream.bytes, stream.documents) == (8, 2)


def test_without_a_joiner_the_end_token_ends_each(source):
    stream = token_stream(source, BYTES, None, None)
    assert stream.ids.tolist() == [*b"one", 256, *b"two", 256]
    assert stream.bytes == 6


def test_without_joiner_and_end_token_nothing_could_divide_documents(source):
    endless = Tokens(BYTES.encode, BYTES.decode, BYTES.byte_count, 256, "endless")
    with pytest.raises(DataError, match="the tokenizer has no end token; give a joiner"):
        token_stream(source, endless, None, None)


def test_pieces_do_not_show(source, monkeypatch):
    whole = token_stream(source, BYTES, "\n", None).ids.tolist()
    monkeypatch.setattr(chunked_tokenizer, "PIECE", 2)
    assert token_stream(source, BYTES, "\n", None).ids.tolist() == whole


@pytest.mark.parametrize("joiner", ["--", None])
def test_a_long_paragraph_is_one_document(tmp_path, monkeypatch, joiner):
    monkeypatch.setattr(documents, "PIECE", 8)
    file = tmp_path / "a.txt"
    file.write_text("short\n\nlonger than eight\nof them\n\nlast")
    stream = token_stream(TextFiles((file,)), BYTES, joiner, None)
    between = [256] if joiner is None else [*b"--"]
    long = [*b"longer than eight\nof them"]
    wanted = [*b"short", *between, *long, *between, *b"last"]
    assert stream.ids.tolist() == ([*wanted, 256] if joiner is None else wanted)
    assert (stream.bytes, stream.documents) == (5 + 25 + 4 + (4 if joiner else 0), 3)


def test_tokens_are_made_once_for_equal_content(source, tmp_path):
    cache = tmp_path / "cache"
    first = token_stream(source, BYTES, "\n", cache).ids.tolist()

    def refuse(_):
        raise AssertionError("tokenised again")

    blind = evolve(BYTES, encode=refuse)
    assert token_stream(source, blind, "\n", cache).ids.tolist() == first
    with pytest.raises(AssertionError):
        token_stream(source, blind, "other", cache)
    source.files[0].write_text("changed")
    with pytest.raises(AssertionError):
        token_stream(source, blind, "\n", cache)


@pytest.mark.parametrize("damage", ["truncated", "no description", "no json"])
def test_a_damaged_cache_is_written_again(source, tmp_path, damage):
    expected = token_stream(source, BYTES, "\n", tmp_path / "c").ids.tolist()
    (ids,) = (tmp_path / "c").glob("*.tokens")
    (about,) = (tmp_path / "c").glob("*.json")
    if damage == "truncated":
        ids.write_bytes(ids.read_bytes()[:-4])
    elif damage == "no json":
        about.write_text("{")
    else:
        about.unlink()
    assert token_stream(source, BYTES, "\n", tmp_path / "c").ids.tolist() == expected


def test_what_a_killed_process_has_left_is_not_trusted(source, tmp_path):
    def killed(texts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dying = Tokens(killed, BYTES.decode, BYTES.byte_count, 259, "bytes", end=256)
        token_stream(source, dying, "\n", tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []
    assert text_of(token_stream(source, BYTES, "\n", tmp_path / "c")) == "one\ntwo"


def test_temporary_files_go_with_the_stream(source, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    stream = token_stream(source, BYTES, "\n", None)
    assert len(list((tmp_path / "t").iterdir())) == 1
    del stream
    gc.collect()
    assert list((tmp_path / "t").iterdir()) == []


def test_an_empty_file_has_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"a\.txt: there is no text to tokenise"):
        token_stream(TextFiles((tmp_path / "a.txt",)), BYTES, "\n", None)


def test_a_cache_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/cache: tokens cannot be written there"):
        token_stream(source, BYTES, "\n", tmp_path / "file/cache")


def test_a_large_file_needs_little_memory(tmp_path):
    paragraph = "some words of a paragraph that is like all the others\n" * 20 + "\n"
    file = tmp_path / "large.txt"
    with file.open("w") as out:
        for _ in range(30_000_000 // len(paragraph)):
            out.write(paragraph)
    tracemalloc.start()
    stream = token_stream(TextFiles((file,)), BYTES, "\n\n", None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.bytes == len(stream.ids) > 29_000_000
    assert np.asarray(stream.ids[:4]).tolist() == list(b"some")
    assert peak < 8_000_000
