"""What the library datasets has saved."""

from __future__ import annotations

import sys

import pytest

from nodelens.errors import DataError
from nodelens_hf.documents import TextFiles, content_key, documents, find_files
from nodelens_hf.text import Text
from nodelens_hf.token_classification import sentences


def test_a_saved_dataset_without_the_library_says_what_to_install(tmp_path, monkeypatch):
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'nodelens-hf\[datasets\]'"):
        list(documents(TextFiles((tmp_path,))))


@pytest.fixture
def saved(tmp_path):
    """Return a folder with two splits of three rows."""
    datasets = pytest.importorskip("datasets")
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "topic": datasets.ClassLabel(names=["sport", "art"]),
            "words": datasets.List(datasets.Value("string")),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B"])),
        }
    )
    rows = {
        "text": ["one", "two", "three"],
        "topic": [0, 1, 0],
        "words": [["a", "b"], ["c"], ["d"]],
        "tags": [[0, 1], [1], [0]],
    }
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


def test_rows_are_documents_and_labels_have_their_names(saved):
    source = TextFiles(find_files([str(saved / "train")]), label="topic")
    found = [(each.text, each.label) for each in documents(source)]
    assert found == [("one", "sport"), ("two", "art"), ("three", "sport")]


def test_tags_have_their_names(saved):
    (first, *_) = sentences(TextFiles((saved / "train",), "words", "tags"))
    assert (first.words, first.tags) == (("a", "b"), ("O", "B"))


def test_a_field_that_is_not_there_is_named(saved):
    with pytest.raises(DataError, match=r"row 0: no text under 'body' \(there is: text, topic"):
        list(documents(TextFiles((saved / "train",), "body")))


def test_one_of_several_splits_has_to_be_given(saved):
    with pytest.raises(DataError, match=r"holds several splits; give one of .*saved/test"):
        find_files([str(saved)])


def test_a_saved_dataset_is_data_of_a_run_and_has_a_key(saved, tmp_path):
    data = Text(files=(str(saved / "train"),), tokenizer="bytes", window=4).load()
    assert bytes(data.samples.inputs[0].tolist()) == b"one\n"
    assert content_key(TextFiles((saved / "train",))) == content_key(TextFiles((saved / "train",)))


def test_a_dataset_that_is_not_whole_is_named(saved):
    next((saved / "train").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="train: not a whole dataset of save_to_disk"):
        list(documents(TextFiles((saved / "train",))))
