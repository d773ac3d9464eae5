"""Each task, end to end: from local data and a configuration to a pruned model that loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import nodelens
import nodelens_hf
from nodelens.errors import ConfigError, DataError

BERT = {
    "model_type": "bert", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "vocab_size": 259, "max_position_embeddings": 40,
    "pad_token_id": 257,
}  # fmt: skip
VIT = {
    "model_type": "vit", "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 20, "patch_size": 4,
}  # fmt: skip
T5 = {
    "model_type": "t5", "d_model": 16, "d_ff": 20, "d_kv": 4, "num_heads": 2, "num_layers": 1,
    "vocab_size": 259, "decoder_start_token_id": 257, "pad_token_id": 257, "eos_token_id": 256,
}  # fmt: skip
TEXT = {"name": "text", "tokenizer": "bytes", "window": 32, "batch_size": 16}
WORDS = ("the", "quick", "fox", "naps", "dog")
KEPT = ["*:residual", "*:value_dim", "*:heads"]
METRICS = ["activation_rms", "taylor"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return records with a text, words, tags, a topic and a target each, and images."""
    path = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = []
    for _ in range(48):
        words = random.choice(WORDS, size=4).tolist()
        tags = ["N" if word in ("fox", "dog") else "X" for word in words]
        topic = "fox" if "fox" in words else "other"
        rows.append(
            {"text": " ".join(words), "words": words, "tags": tags, "topic": topic,
             "target": words[0]}
        )  # fmt: skip
    (path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, level in (("dark", 60), ("light", 200)):
        (path / "images" / name).mkdir(parents=True)
        for number in range(24):
            pixels = random.normal(level, 30, (8, 8)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(path / "images" / name / f"{number}.png")
    return path


def config(folder, task, model, **data):
    files = {"path": str(folder / "images")} if "path" in data else {}
    return {
        "name": task,
        "model": {"name": "hf", "task": task, "config": model},
        "data": {**TEXT, "files": [str(folder / "a.jsonl")], **data} if not files
        else {**data, **files, "batch_size": 16},
        "capture": {"samples": 24, "folds": 3},
        "metrics": METRICS,
        "pruning": [{"name": "magnitude", "sparsity": 0.5, "protect": KEPT}],
        "reports": ["json"],
    }  # fmt: skip


IMAGES = {"name": "image_folder", "path": "", "grayscale": True}
CASES = {
    "masked_lm": (BERT, {"objective": "masked", "layout": "padded"}, "perplexity"),
    "seq2seq_lm": (T5, {"objective": "target", "label": "target"}, "perplexity"),
    "sequence_classification": (BERT, {"objective": "label", "label": "topic"}, "accuracy"),
    "token_classification": (
        BERT, {"objective": "tags", "text": "words", "label": "tags"}, "accuracy"
    ),
    "image_classification": (VIT, IMAGES, "accuracy"),
}  # fmt: skip


def found(run, name):
    return json.loads((run.path / f"findings/{name}.json").read_text())


@pytest.mark.parametrize("task", CASES)
def test_a_task_is_trained_scored_evaluated_and_pruned(folder, tmp_path, task):
    model, data, measure = CASES[task]
    settings = config(folder, task, model, **data) | {"training": {"epochs": 1}}
    run = nodelens.run(settings | {"output": str(tmp_path)})
    evaluated = found(run, "evaluation.test")["data"]
    assert evaluated[measure] is not None
    assert ("perplexity" in evaluated) == (measure == "perplexity")
    pruned = found(run, "pruning.magnitude")["data"]
    assert pruned["carried_out"] == "removal"
    assert pruned[measure][0] == pytest.approx(evaluated[measure])
    assert pruned["parameters"][1] < pruned["parameters"][0]
    loaded = nodelens_hf.load(run.path / pruned["model"]["folder"])
    assert sum(each.numel() for each in loaded.parameters()) == pruned["parameters"][1]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (BERT, {"objective": "none", "layout": "padded"}),
        (VIT, IMAGES),
    ],
    ids=["text", "images"],
)
def test_an_encoder_is_measured_against_its_own_outputs(folder, tmp_path, model, data):
    settings = config(folder, "encoder", model, **data) | {"metrics": ["activation_rms"]}
    ablation = {"interventions": [{"name": "ablation", "fractions": [0.5]}]}
    run = nodelens.run(settings | ablation | {"output": str(tmp_path)})
    evaluated = found(run, "evaluation.test")
    assert evaluated["data"]["unit"] == "cosine distance"
    assert evaluated["data"]["loss"] == pytest.approx(0.0, abs=1e-12)
    assert "perplexity" not in evaluated["data"]
    pruned = found(run, "pruning.magnitude")
    assert pruned["data"]["loss_change"][0] > 0
    assert "outputs move by" in pruned["headline"][0]
    assert "cosine distance on average" in found(run, "intervention.ablation")["headline"][0]
    nodelens_hf.load(run.path / pruned["data"]["model"]["folder"])


def test_what_needs_a_loss_is_refused_for_an_encoder_all_at_once(folder, tmp_path):
    settings = config(folder, "encoder", BERT, objective="none", layout="padded")
    settings |= {"training": {"epochs": 1}, "metrics": [*METRICS, "true_fisher"]}
    with pytest.raises(ConfigError) as caught:
        nodelens.run(settings | {"output": str(tmp_path)})
    said = "; ".join(caught.value.problems)
    assert "training: needs a loss" in said
    assert "metrics: taylor needs a loss, and this model makes no predictions" in said
    assert "true_fisher" in said
    assert "activation_rms" not in said


def test_classes_of_images_can_be_compared_in_an_encoder(folder, tmp_path):
    settings = config(folder, "encoder", VIT, **IMAGES) | {"metrics": ["fisher_ratio"]}
    run = nodelens.run(settings | {"output": str(tmp_path), "pruning": []})
    assert not run.record().failed_metrics


def test_a_model_with_predictions_needs_labels(folder, tmp_path):
    settings = config(folder, "masked_lm", BERT, objective="none", layout="padded")
    with pytest.raises(DataError, match="makes predictions, and the data have no labels"):
        nodelens.run(settings | {"output": str(tmp_path)})


@pytest.mark.parametrize(
    ("task", "objective", "message"),
    [
        ("masked_lm", "next", r"it would predict; set data\.objective: masked"),
        ("causal_lm", "masked", r"not masked ones; set data\.objective: next"),
    ],
)
def test_what_a_language_model_cannot_be_judged_by_is_refused_first(
    tmp_path, task, objective, message
):
    settings = config(tmp_path / "missing", task, {}, objective=objective)
    with pytest.raises(DataError, match=message):
        nodelens.run(settings | {"output": str(tmp_path)})


@pytest.mark.parametrize("name", ["perplexity", "multiple_choice"])
def test_a_masked_language_model_is_not_asked_for_likelihoods(tmp_path, name):
    settings = config(tmp_path / "missing", "masked_lm", BERT, objective="masked")
    settings["evaluations"] = [{"name": name, "files": ["a.txt"], "tokenizer": "bytes"}]
    with pytest.raises(DataError, match=f"evaluations: {name}: a masked_lm model reads the token"):
        nodelens.run(settings | {"output": str(tmp_path)})
