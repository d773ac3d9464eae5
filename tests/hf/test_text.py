from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig

from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf.text import Text
from nodelens_hf.tokenizers import load_tokenizer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("the quick brown fox\n\njumps over the lazy dog\n")
    (tmp_path / "b.jsonl").write_text(
        "".join(
            json.dumps({"text": text, "topic": topic}) + "\n"
            for text, topic in (("the fox", "fox"), ("the lazy dog naps", "dog"), ("fox", "fox"))
        )
    )
    return tmp_path


def text(folder, name="a.txt", **options):
    return Text(**{"files": (str(folder / name),), "tokenizer": "bytes", "window": 8, **options})


def test_packed_text_is_cut_into_windows(folder):
    data = text(folder).load()
    assert data.classes == ()
    assert data.samples.sequences
    assert data.samples.inputs.shape == (5, 8)  # 44 bytes with the joiner
    assert bytes(data.samples.inputs[0].tolist()) == b"the quic"
    assert data.test is None


def test_test_files_are_cut_with_their_stride(folder):
    data = text(folder, test_files=(str(folder / "a.txt"),), stride=4).load()
    counted = data.test.targets[data.test.targets != IGNORED]
    whole = b"the quick brown fox\n\njumps over the lazy dog"
    assert bytes(counted.tolist()) == whole[1 : 1 + len(counted)]
    assert len(counted) == 43


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 9, "test_files": ("a",)}, "data.stride 9 is larger than the window 8"),
        ({"stride": 4}, "data.stride is the stride of test windows; give data.test_files"),
        ({"objective": "label"}, "data.label: objective label needs the field"),
        ({"window": 64}, "the text has 44 tokens and a window 64"),
        ({"files": ("nowhere",)}, "nowhere matches no file"),
        ({"tokenizer": "./nowhere"}, "data.tokenizer: no tokenizer at ./nowhere"),
    ],
)
def test_mistakes_are_said_in_words(folder, options, message):
    with pytest.raises(DataError, match=message):
        text(folder, **options).load()


def test_padded_documents_are_rows_with_a_mask(folder):
    data = text(folder, layout="padded", window=30).load()
    inputs, mask = data.samples.inputs, data.samples.fields["attention_mask"]
    assert mask.sum(1).tolist() == [20, 24]
    assert inputs[:, 0].tolist() == [256, 256]
    assert inputs[0, 20:].tolist() == [257] * 4
    assert (data.samples.targets != IGNORED).sum(1).tolist() == [19, 23]
    assert bytes(data.samples.targets[0, :19].tolist()) == b"the quick brown fox"


def test_padded_documents_are_drawn_with_the_seed(folder):
    lengths = [
        text(folder, "b.jsonl", layout="padded", windows=1, seed=seed).load().samples.inputs.shape
        for seed in range(8)
    ]
    assert {shape[0] for shape in lengths} == {1}
    assert len({shape[1] for shape in lengths}) > 1


def test_masked_objective(folder):
    data = text(folder, objective="masked", masked=0.5).load()
    chosen = data.samples.inputs == 258
    assert torch.equal(data.samples.targets != IGNORED, chosen)
    assert chosen.any()


def test_documents_with_labels(folder):
    options = {"objective": "label", "label": "topic", "window": 10}
    data = text(folder, "b.jsonl", **options, test_files=(str(folder / "b.jsonl"),)).load()
    assert data.classes == ("dog", "fox")
    assert data.samples.targets.tolist() == [1, 0, 1]
    assert data.samples.fields["attention_mask"].sum(1).tolist() == [8, 10, 4]
    (folder / "c.jsonl").write_text('{"text": "x", "topic": "cat"}')
    with pytest.raises(DataError, match=r"label 'cat' does not occur in data\.files"):
        text(folder, "b.jsonl", **options, test_files=(str(folder / "c.jsonl"),)).load()


def test_a_label_is_not_needed_where_it_is_not_predicted(folder):
    assert len(text(folder, "b.jsonl", label="absent").load().samples) == 3


def test_a_cache_is_used(folder):
    for _ in range(2):
        text(folder, cache=str(folder / "cache")).load()
    assert len(list((folder / "cache").glob("*.tokens"))) == 1


def test_an_empty_file_is_named(folder):
    (folder / "empty.txt").write_text("")
    for layout in ("packed", "padded"):
        with pytest.raises(DataError, match=r"empty\.txt: there is no text to tokenise"):
            text(folder, "empty.txt", layout=layout).load()


def test_a_tokenizer_of_a_folder(folder, tokenizer_folder):
    tokens = load_tokenizer(str(tokenizer_folder))
    assert (tokens.pad, tokens.begin, tokens.end, tokens.mask) == (0, 1, 2, 3)
    (ids,) = tokens.encode(["the lazy dog, naïve"])
    assert tokens.decode(ids) == "the lazy dog, naïve"
    assert max(ids) < tokens.size <= 300
    data = text(folder, tokenizer=str(tokenizer_folder), layout="padded", window=16).load()
    rows, mask = data.samples.inputs, data.samples.fields["attention_mask"]
    assert rows[:, 0].tolist() == [1, 1]
    assert [row[row != 0][-1].item() for row in rows] == [2, 2]
    assert torch.equal(rows != 0, mask.bool())


def test_equal_tokenizers_have_one_identity_wherever_they_are(tokenizer_folder, tmp_path):
    for path in tokenizer_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    one, other = (load_tokenizer(str(each)) for each in (tokenizer_folder, tmp_path))
    assert one.identity == other.identity
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    described["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    assert load_tokenizer(str(tmp_path)).identity != one.identity


def test_a_damaged_tokenizer_is_named(tokenizer_folder, tmp_path):
    for path in tokenizer_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    del described["model"]["vocab"]["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"data\.tokenizer: no tokenizer at .*out of vocabulary"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_a_model_without_tokenizer_files_has_no_tokenizer(tmp_path, kind):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"data\.tokenizer: no (tokenizer|vocabulary) at "):
        load_tokenizer(str(tmp_path))
