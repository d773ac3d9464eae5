"""Tasks of lm-eval, from a folder of own tasks, without a network."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import nodelens
import nodelens_hf
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.backend import Permissions
from nodelens_hf.evaluations import LmEval

TASK = """
task: foxes
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 7}}
"""
QUESTIONS = [
    {"question": f"The {word}", "choices": ["fox jumps", "dog", "lazy naps"], "answer": number % 3}
    for number, word in enumerate(("quick", "lazy", "brown", "the", "fox", "dog", "and"))
]


@pytest.fixture
def tasks(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/foxes.yaml").write_text(TASK.format(file=file))
    return tmp_path / "tasks"


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Let lm-eval keep what it reads in the test's folder."""
    pytest.importorskip("lm_eval")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, vocab_size=300, max_position_embeddings=64,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def test_the_package_is_asked_for_before_anything_is_done(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    protocol = LmEval(tasks=("foxes",), tokenizer="folder")
    with pytest.raises(DataError, match=r"pip install 'nodelens-hf\[lm-eval\]'"):
        protocol.check(Permissions())


def test_task_files_can_hold_code_and_need_permission(tasks, harness):
    protocol = LmEval(tasks=("foxes",), tokenizer="folder", include_path=str(tasks))
    with pytest.raises(DataError, match="can hold code, which a config cannot allow"):
        protocol.check(Permissions())
    protocol.check(Permissions(remote_code=True))


@pytest.mark.filterwarnings("ignore")
def test_accuracies_are_those_of_our_own_protocol(tasks, harness, tokenizer_folder):
    net = model()
    given = {"tokenizer": str(tokenizer_folder)}
    found = nodelens_hf.lm_eval(net, "foxes", include_path=str(tasks), **given)
    ours = nodelens_hf.multiple_choice(net, str(tasks.parent / "questions.jsonl"), **given)
    assert found["foxes", "acc"].value.value == pytest.approx(ours.accuracy.value)
    assert found["foxes", "acc_norm"].value.value == pytest.approx(ours.normalised_accuracy.value)
    assert found["foxes", "acc"].value.se == pytest.approx(ours.accuracy.se, rel=1e-6)
    assert found["foxes", "acc"].samples == 7
    assert found["foxes", "acc"].version == "7"
    with pytest.raises(KeyError, match="there are foxes acc, foxes acc_norm"):
        found["foxes", "f1"]


def test_a_masked_language_model_is_refused(tasks, harness, tokenizer_folder):
    config = AutoConfig.for_model(
        "bert", hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, vocab_size=300,
    )  # fmt: skip
    net = AutoModelForMaskedLM.from_config(config)
    with pytest.raises(ModelError, match="it reads the token that it would predict"):
        nodelens_hf.lm_eval(net, "foxes", include_path=str(tasks), tokenizer=str(tokenizer_folder))


@pytest.mark.filterwarnings("ignore")
def test_the_model_and_all_random_states_stay_as_they_were(tasks, harness, tokenizer_folder):
    net = model().train()
    before = {name: each.clone() for name, each in net.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    options = {"include_path": str(tasks), "tokenizer": str(tokenizer_folder), "limit": 2}
    found = nodelens_hf.lm_eval(net, "foxes", **options)
    assert found["foxes", "acc"].samples == 2
    assert net.training
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert now[:2] == states[:2]
    assert torch.equal(now[2], states[2])


@pytest.mark.filterwarnings("ignore")
def test_a_run_asks_the_questions_and_says_where_it_was_limited(
    tasks, harness, tokenizer_folder, tmp_path
):
    model().save_pretrained(tmp_path / "model")
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 30)
    given = {"tokenizer": str(tokenizer_folder)}
    run = nodelens.run(
        {
            "name": "harness",
            "model": {"name": "hf", "pretrained": str(tmp_path / "model")},
            "data": {"name": "text", "files": [str(tmp_path / "a.txt")], "window": 16, **given},
            "capture": {"samples": 8, "folds": 2},
            "metrics": ["activation_rms"],
            "evaluations": [
                {"name": "lm_eval", "tasks": ["foxes"], "include_path": str(tasks), "limit": 3,
                 **given}
            ],
            "reports": ["json"],
            "output": str(tmp_path / "outputs"),
        },
        trust_remote_code=True,
    )  # fmt: skip
    finding = json.loads(run.file("findings/evaluation.lm_eval.json").read_text())
    assert [row["measure"] for row in finding["data"]["tasks"]] == ["acc", "acc_norm"]
    assert finding["warnings"] == ["at most 3 questions of each task were used"]
    assert finding["headline"][0].startswith("foxes: acc ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "bytes"}, "give a folder or hub id that has a tokenizer"),
        ({"include_path": "./nowhere"}, "there is no folder ./nowhere"),
        ({"window": 65}, "a window of 65 tokens is longer than the model's 64 positions"),
    ],
)
def test_mistakes_are_said_in_words(harness, tokenizer_folder, options, message):
    given = {"tokenizer": str(tokenizer_folder), **options}
    with pytest.raises(DataError, match=message):
        nodelens_hf.lm_eval(model(), "foxes", **given)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_is_not_there_is_named(harness, tasks, tokenizer_folder):
    options = {"include_path": str(tasks), "tokenizer": str(tokenizer_folder)}
    with pytest.raises(DataError, match="lm_eval: foxen: "):
        nodelens_hf.lm_eval(model(), "foxen", **options)
