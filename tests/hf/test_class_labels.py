"""Names of a pretrained head's outputs and the classes of the data."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageClassification
from transformers import AutoModelForSequenceClassification as Sequences
from transformers import AutoModelForTokenClassification as Tagger

import nodelens
from nodelens.data.image_folder import ImageFolder
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.backend import ModelRequest
from nodelens_hf.backend import HuggingFace
from nodelens_hf.text import Text

BERT = {
    "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 259, "max_position_embeddings": 40, "pad_token_id": 257,
}  # fmt: skip
VIT = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "image_size": 8, "patch_size": 4, "num_channels": 1,
}  # fmt: skip
TASK = "sequence_classification"


def head(folder, names, right, auto=Sequences, **config):
    """Save a model whose outputs have these names and which always chooses the one at `right`."""
    kind = "vit" if auto is AutoModelForImageClassification else "bert"
    named = dict(enumerate(names))
    options = {
        **(VIT if kind == "vit" else BERT),
        "id2label": named,
        "label2id": {name: number for number, name in named.items()},
        **config,
    }
    torch.manual_seed(0)
    model = auto.from_config(AutoConfig.for_model(kind, **options))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.arange(len(names)) == right)
    model.save_pretrained(folder)
    return str(folder)


def documents(path, labels, key="label"):
    rows = ({"text": f"a text {number}", key: label} for number, label in enumerate(labels))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def result(tmp_path, model, data, task=TASK, metrics=("activation_rms",), **options):
    """Return the finding of a run that has the accuracy."""
    run = nodelens.run(
        {
            "name": "a",
            "model": {"name": "hf", "task": task, "pretrained": model, **options},
            "data": {"batch_size": 16, **data},
            "capture": {"samples": 24, "folds": 2},
            "metrics": list(metrics),
            "reports": ["json"],
            "output": str(tmp_path / "runs"),
        }
    )
    return next(each for each in run.findings() if "accuracy" in each.headline[0])


def text(file, **options):
    return {
        "name": "text", "files": [file], "tokenizer": "bytes", "objective": "label",
        "label": "label", "window": 24, **options,
    }  # fmt: skip


def request(*names):
    return ModelRequest((6,), len(names), seed=0, class_names=names)


def outputs(folder, *names, **options):
    return HuggingFace(task=TASK, pretrained=folder, **options).build(request(*names)).classes


def test_a_head_whose_order_is_not_the_alphabets_numbers_the_classes(tmp_path):
    model = head(tmp_path / "m", ["positive", "negative"], right=0)
    file = documents(tmp_path / "a.jsonl", ["positive"] * 45 + ["negative"] * 15)
    assert "accuracy 75.0" in result(tmp_path, model, text(file)).headline[0]


def test_a_part_of_the_heads_classes_keeps_the_heads_numbers(tmp_path):
    model = head(tmp_path / "m", ["c", "b", "a", "d"], right=2)
    file = documents(tmp_path / "a.jsonl", ["a"] * 45 + ["c"] * 15)
    metrics = ("activation_rms", "fisher_ratio", "taylor")
    assert "accuracy 75.0" in result(tmp_path, model, text(file), metrics=metrics).headline[0]


def test_tags_take_the_heads_numbers(tmp_path):
    model = head(tmp_path / "m", ["X", "N"], right=0, auto=Tagger)
    rows = [{"words": ["the", "fox", "naps", "on"], "tags": ["X", "N", "X", "X"]}] * 60
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = text(str(tmp_path / "a.jsonl"), objective="tags", text="words", label="tags")
    found = result(tmp_path, model, data, task="token_classification")
    assert "accuracy 75.0" in found.headline[0]


def test_folders_of_images_take_the_heads_numbers(tmp_path):
    for name, count in (("cat", 15), ("dog", 45)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    model = head(tmp_path / "m", ["dog", "cat"], right=0, auto=AutoModelForImageClassification)
    data = {"name": "image_folder", "path": str(tmp_path / "images"), "grayscale": True}
    found = result(tmp_path, model, data, task="image_classification")
    assert "accuracy 75.0" in found.headline[0]


def test_classes_that_the_head_does_not_have_are_listed_with_the_closest(tmp_path):
    folder = head(tmp_path / "m", ["NEGATIVE", "POSITIVE"], right=0)
    expected = (
        r"has NEGATIVE, POSITIVE, and the data 'positve' \(did you mean 'POSITIVE'\?\), 'zzz'"
    )
    with pytest.raises(ModelError, match=expected) as caught:
        outputs(folder, "NEGATIVE", "positve", "zzz")
    assert "model.labels" in str(caught.value)
    with pytest.raises(ModelError, match=r"'negative' \(did you mean 'NEGATIVE'\?\), 'positive'"):
        outputs(folder, "negative", "positive")


def test_a_name_of_several_outputs_is_refused_where_the_data_have_it(tmp_path):
    folder = head(tmp_path / "m", ["crane", "tench", "crane"], right=0)
    assert outputs(folder, "tench") == ("crane", "tench", "crane")
    with pytest.raises(ModelError, match="several outputs called crane"):
        outputs(folder, "crane", "tench")


def test_labels_of_the_model_decide_the_numbers(tmp_path):
    model = head(tmp_path / "m", ["POS", "NEG"], right=0)
    file = documents(tmp_path / "a.jsonl", ["up"] * 45 + ["down"] * 15)
    found = result(tmp_path, model, text(file), labels=["up", "down"])
    assert "accuracy 75.0" in found.headline[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("up", "dwn"), r"model.labels lacks classes of the data: 'down' \(did you mean 'dwn'\?\)"),
        (("up", "down", "up"), "model.labels names a class twice"),
    ],
)
def test_labels_that_do_not_fit_the_data_are_refused(tmp_path, labels, message):
    folder = head(tmp_path / "m", ["POS", "NEG"], right=0)
    with pytest.raises(ModelError, match=message):
        outputs(folder, "down", "up", labels=labels)
    with pytest.raises(ModelError, match="causal_lm has no classes"):
        HuggingFace(config={"model_type": "llama"}, labels=("a",)).build(request())


def test_labels_make_a_random_head_as_wide(tmp_path):
    config = {"model_type": "bert", **BERT}
    made = HuggingFace(task=TASK, config=config, labels=("b", "c", "a")).build(request("a", "b"))
    assert made.module.num_labels == 3
    assert made.classes == ("b", "c", "a")


def test_integers_are_the_numbers_of_outputs(tmp_path):
    unnamed = head(tmp_path / "u", ["LABEL_0", "LABEL_1", "LABEL_2"], right=0)
    assert outputs(unnamed, "0", "2") == ("0", "1", "2")
    named = head(tmp_path / "n", ["bad", "good"], right=0)
    assert outputs(named, "0", "1") == ("0", "1")
    with pytest.raises(ModelError, match="its head has bad, good, and the data '1', '2'"):
        outputs(named, "1", "2")


def test_outputs_without_names_leave_the_order_of_the_data(tmp_path, caplog):
    unnamed = head(tmp_path / "u", [f"LABEL_{number}" for number in range(3)], right=0)
    assert outputs(unnamed, "a", "b") is None
    assert "have no names: they are taken for a, b, in this order; set model.labels" in caplog.text
    caplog.clear()
    assert outputs(unnamed, "1", "2", "3") is None
    with pytest.raises(ModelError, match="the data '1', '5'"):
        outputs(unnamed, "1", "5")
    assert outputs(unnamed, "LABEL_1", "LABEL_2") == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert not caplog.text


def test_a_head_that_is_drawn_anew_leaves_the_order_of_the_data(tmp_path):
    folder = head(tmp_path / "m", ["x", "y"], right=0)
    base = Sequences.from_pretrained(folder).base_model
    base.save_pretrained(tmp_path / "base")
    assert outputs(str(tmp_path / "base"), "a", "b") is None
    assert outputs(str(tmp_path / "base"), "a", "b", "c") is None


def test_classes_of_texts_and_folders_are_ordered_by_value(tmp_path):
    file = documents(tmp_path / "a.jsonl", [10, 2, 1] * 4)
    data = Text((file,), "bytes", objective="label", label="label", window=24).load()
    assert data.classes == ("1", "2", "10")
    for name in data.classes:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "images" / name / "a.png")
    images = ImageFolder(str(tmp_path / "images")).load()
    assert images.classes == ("1", "2", "10")
    assert images.samples.targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize("record", [{"text": "b", "label": None}, {"text": "b"}])
def test_a_record_without_a_label_is_named(tmp_path, record):
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": "a", "label": "x"}) + "\n" + json.dumps(record) + "\n"
    )
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: .*label"):
        Text((str(tmp_path / "a.jsonl"),), "bytes", objective="label", label="label").load()


def test_a_word_without_a_tag_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": ["a", "b"], "label": ["X", None]}))
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: the list under 'label' holds null"):
        Text((str(tmp_path / "a.jsonl"),), "bytes", objective="tags", label="label").load()
