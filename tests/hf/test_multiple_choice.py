from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import nodelens_hf
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.evaluation import EvaluationRequest
from nodelens_hf.evaluations import MultipleChoice

QUESTIONS = [
    {"question": "the quick brown", "choices": ["fox", "dog and cat", "x"], "answer": 0},
    {"question": "the lazy", "choices": ["dog", "fox"], "answer": "B"},
    {"question": "", "choices": ["over", "under it"], "answer": "over"},
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=300, max_position_embeddings=64,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n\n")
    return path


@torch.no_grad()
def likelihood(model, prompt, choice):
    before = list(prompt.encode()) or [256]
    after = list(f"{' ' if prompt else ''}{choice}".encode())
    predicted = model(input_ids=torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    first = len(before) - 1
    return sum(float(predicted[first + place, token]) for place, token in enumerate(after))


@pytest.mark.parametrize("size", [1, 4, 100])
def test_likelihoods_equal_those_of_single_rows(model, file, size):
    found = nodelens_hf.multiple_choice(model, str(file), tokenizer="bytes", batch_size=size)
    for asked, values in zip(QUESTIONS, found.likelihoods, strict=True):
        expected = [likelihood(model, asked["question"], each) for each in asked["choices"]]
        assert values.tolist() == pytest.approx(expected, rel=1e-5)


def test_both_accuracies(model, file):
    found = nodelens_hf.multiple_choice(model, str(file), tokenizer="bytes")
    answers = (0, 1, 0)
    pairs = list(zip(QUESTIONS, found.likelihoods, answers, strict=True))
    plain = [int(values.argmax()) == answer for _, values, answer in pairs]
    by_length = [
        max(range(len(values)), key=lambda n: values[n] / len(asked["choices"][n])) == answer
        for asked, values, answer in pairs
    ]
    assert found.accuracy.value == pytest.approx(sum(plain) / 3)
    assert found.normalised_accuracy.value == pytest.approx(sum(by_length) / 3)
    assert found.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)


def test_a_prompt_and_fields_of_other_names(model, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"q": "two", "options": ["a", "b"], "gold": 1}')
    found = nodelens_hf.multiple_choice(
        model, str(tmp_path / "a.jsonl"), tokenizer="bytes", prompt="Q: {question}\nA:",
        question="q", choices="options", answer="gold",
    )  # fmt: skip
    assert found.likelihoods[0][1] == pytest.approx(likelihood(model, "Q: two\nA:", "b"), rel=1e-5)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "line 1: not JSON"),
        ('{"question": "a"}', "expected a record with question, choices, answer"),
        ('{"question": "a", "choices": ["b"], "answer": 0}', "at least two choices"),
        ('{"question": "a", "choices": ["b", ""], "answer": 0}', "at least two choices"),
        ('{"question": "a", "choices": ["b", "c"], "answer": 2}', "2 is none of the 2 choices"),
        ('{"question": "a", "choices": ["b", "c"], "answer": "D"}', "'D' is none of the 2"),
        ("", "there are no questions"),
    ],
)
def test_mistakes_name_file_and_line(model, tmp_path, record, message):
    (tmp_path / "a.jsonl").write_text(record)
    with pytest.raises(DataError, match=message):
        nodelens_hf.multiple_choice(model, str(tmp_path / "a.jsonl"), tokenizer="bytes")


def test_long_prompts_keep_their_end_and_choices_must_fit(model, tmp_path):
    record = {"question": "x" * 100, "choices": ["abc", "de"], "answer": 0}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    path = str(tmp_path / "a.jsonl")
    found = nodelens_hf.multiple_choice(model, path, tokenizer="bytes", window=20)
    assert found.likelihoods[0][0] == pytest.approx(likelihood(model, "x" * 16, "abc"), rel=1e-5)
    with pytest.raises(DataError, match="the choice 'abc' has 4 tokens"):
        nodelens_hf.multiple_choice(model, path, tokenizer="bytes", window=4)


def test_the_finding_says_how_many_questions(model, file):
    request = EvaluationRequest(model, seed=0, device=torch.device("cpu"))
    finding = MultipleChoice((str(file),), "bytes").evaluate(request)
    assert "on 3 questions (guessing: 44.4 %)" in finding.headline[0]
    assert json.dumps(finding.data)


def test_a_file_that_is_no_text_is_named(model, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"question": "naïve"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: not UTF-8 text"):
        nodelens_hf.multiple_choice(model, str(path), tokenizer="bytes")


@pytest.mark.parametrize(
    ("kind", "auto", "size", "error", "message"),
    [
        (
            "llama",
            AutoModelForCausalLM,
            97,
            DataError,
            "the data hold token 257 and LlamaForCausal",
        ),
        ("bert", AutoModelForMaskedLM, 300, ModelError, "it reads the token that it would predict"),
    ],
)
def test_models_that_do_not_fit_are_refused(file, kind, auto, size, error, message):
    config = AutoConfig.for_model(
        kind, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=size, max_position_embeddings=64,
    )  # fmt: skip
    with pytest.raises(error, match=message):
        nodelens_hf.multiple_choice(auto.from_config(config), str(file), tokenizer="bytes")
