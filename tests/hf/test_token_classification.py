"""Words with tags, from records and from columns."""

from __future__ import annotations

import json

import pytest
import torch

from nodelens.data.splits import batches
from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED
from nodelens.training.evaluation_finding import evaluation_finding
from nodelens.training.model_evaluation import evaluate
from nodelens_hf.documents import TextFiles
from nodelens_hf.text import Text
from nodelens_hf.token_classification import sentences
from nodelens_hf.tokenizers import load_tokenizer

CONLL = "-DOCSTART- -X- -X- O\n\nThe DT B-NP O\nfox NN I-NP B-ANIMAL\n\n\nnaps VB O O\n"
CONLLU = (
    "# text = vámonos al mar\n1-2\tvámonos\t_\t_\n1\tvamos\tir\tVERB\n2\tnos\tnosotros\tPRON\n"
    "3-4\tal\t_\t_\n3\ta\ta\tADP\n4\tel\tel\tDET\n4.1\t_\t_\t_\n5\tmar\tmar\tNOUN\n"
)


def words(path, **options):
    return [(each.words, each.tags) for each in sentences(TextFiles((path,), "tokens", **options))]


def text(path, **options):
    given = {"objective": "tags", "text": "tokens", "label": "tags", "window": 24}
    return Text(**{"files": (str(path),), "tokenizer": "bytes", **given, **options})


@pytest.fixture
def records(tmp_path):
    rows = [(["the", "fox"], ["X", "N"]), (["a", "naïve", "dog"], ["X", "J", "N"])]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"tokens": w, "tags": t}) + "\n" for w, t in rows))
    return path


def test_columns_are_read_by_their_first_and_last(tmp_path):
    (tmp_path / "a.conll").write_text(CONLL)
    assert words(tmp_path / "a.conll") == [
        (("The", "fox"), ("O", "B-ANIMAL")),
        (("naps",), ("O",)),
    ]


def test_universal_dependencies_are_read_without_ranges_and_empty_nodes(tmp_path):
    (tmp_path / "a.conllu").write_text(CONLLU)
    (found,) = words(tmp_path / "a.conllu")
    assert found == (("vamos", "nos", "a", "el", "mar"), ("VERB", "PRON", "ADP", "DET", "NOUN"))


def test_the_first_token_of_a_word_has_its_tag_and_no_other(records):
    data = text(records).load()
    assert data.classes == ("J", "N", "X")
    assert data.samples.token_classes
    rows, labels = data.samples.inputs, data.samples.targets
    assert bytes(rows[1, 1:13].tolist()).decode() == "a naïve dog"[:12]
    placed = [(int(place), int(labels[1, place])) for place in (labels[1] != IGNORED).nonzero()]
    assert placed == [(1, 2), (3, 0), (10, 1)]  # after the begin token; the ï has two bytes
    assert (labels[data.samples.fields["attention_mask"] == 0] == IGNORED).all()


def test_tokens_of_a_vocabulary_are_matched_with_words(records, tokenizer_folder):
    data = text(records, tokenizer=str(tokenizer_folder)).load()
    tokens = load_tokenizer(str(tokenizer_folder))
    row, labels = data.samples.inputs[0], data.samples.targets[0]
    first = [tokens.decode([int(each)]).strip() for each in row[labels != IGNORED]]
    assert [word.startswith(part) for word, part in zip(("the", "fox"), first, strict=True)]
    assert labels[labels != IGNORED].tolist() == [2, 1]
    assert labels[0] == IGNORED


def test_a_sentence_that_is_too_long_is_cut_and_closed(records):
    data = text(records, window=6).load()
    assert data.samples.inputs.shape == (2, 6)
    assert data.samples.inputs[0].tolist() == [256, *b"the f"]


def test_test_files_of_another_length_are_padded_alike(records, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"tokens": ["fox"], "tags": ["N"]}')
    data = text(records, test_files=(str(tmp_path / "b.jsonl"),)).load()
    assert data.test.inputs.shape[1] == data.samples.inputs.shape[1]
    assert data.test.targets.tolist()[0][1] == 1
    (tmp_path / "b.jsonl").write_text('{"tokens": ["fox"], "tags": ["Q"]}')
    with pytest.raises(DataError, match=r"tag 'Q' does not occur in data\.files"):
        text(records, test_files=(str(tmp_path / "b.jsonl"),)).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X", "N"]}', "line 1: 1 words and 2 tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["X"]}', "line 1: no list under 'tokens'"),
        ("a.conll", "fox N\ndog\n", "line 2: expected a word and a tag in columns"),
        ("a.conll", "\n\n", "there are no tagged words"),
    ],
)
def test_mistakes_name_file_and_place(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        text(tmp_path / name).load()


def test_records_need_the_name_of_the_tags(records):
    with pytest.raises(DataError, match=r"data\.label: objective tags needs the field"):
        text(records, label=None).load()


def test_the_accuracy_is_that_of_all_words_of_all_sentences(records):
    samples = text(records).load().samples
    torch.manual_seed(0)
    table = torch.nn.Embedding(259, 3)
    model = torch.nn.Module()
    model.table = table
    model.forward = lambda ids, **_: table(ids)
    found = evaluate(model, batches(samples, 1))
    counted = samples.targets != IGNORED
    right = (table(samples.inputs).argmax(-1) == samples.targets)[counted]
    assert found.accuracy == pytest.approx(right.double().mean().item())
    assert found.counts.tolist() == [2, 3]
    assert (
        "on 5 positions of 2 rows" in evaluation_finding(found, "test", ("J", "N", "X")).headline[0]
    )
