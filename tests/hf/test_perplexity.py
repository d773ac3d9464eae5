from __future__ import annotations

import json
import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import nodelens_hf
from nodelens.errors import DataError
from nodelens.interventions.contract import InterventionRequest
from nodelens_hf.evaluations import Perplexity

WORDS = "the quick brown fox jumps over the lazy dog, naïvely; "


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=300, max_position_embeddings=64,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(WORDS * n for n in (1, 2, 3)))
    return tmp_path / "a.txt"


@torch.no_grad()
def reference(model, ids, window, stride):
    """Return the summed loss in nats and the number of tokens, one window and token at a time."""
    total, count, done = 0.0, 0, 0
    for start in range(0, len(ids) - window + 1, stride):
        rows = torch.tensor([ids[start : start + window]])
        predicted = model(input_ids=rows).logits[0].double().log_softmax(-1)
        for place in range(1, window):
            if start + place > done:
                total -= float(predicted[place - 1, ids[start + place]])
                count += 1
                done = start + place
    return total, count


@pytest.mark.parametrize("stride", [16, 5, 1])
def test_equals_a_straightforward_reference(model, file, stride):
    ids = list(file.read_text().encode())
    total, count = reference(model, ids, 16, stride)
    found = nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16, stride=stride)
    assert found.tokens == count
    assert found.perplexity.value == pytest.approx(math.exp(total / count), rel=1e-6)


def test_batch_size_changes_nothing(model, file):
    found = [
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16, batch_size=size)
        for size in (1, 3, 100)
    ]
    values = [each.perplexity.value for each in found]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_bits_per_byte_of_bytes_are_the_loss_in_bits(model, file):
    file.write_text("plain letters " * 20)
    found = nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16)
    assert found.bytes.sum() == found.tokens
    assert found.bits_per_byte.value == pytest.approx(math.log2(found.perplexity.value))


def test_bits_per_byte_do_not_ask_how_the_text_is_tokenised(model, file, tokenizer_folder):
    found = nodelens_hf.perplexity(
        model, str(file), tokenizer=str(tokenizer_folder), window=8, stride=4
    )
    text = file.read_text().encode()
    assert int(found.bytes.sum()) == pytest.approx(len(text), abs=20)
    assert found.tokens < len(text) / 2
    bits = found.evaluation.losses.sum() / math.log(2) / found.bytes.sum()
    assert found.bits_per_byte.value == pytest.approx(bits)


def test_the_model_stays_as_it_was(model, file):
    model.train()
    try:
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16)
        assert model.training
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 16, "stride": 17}, "stride 17 is larger than the window 16"),
        ({"window": 65}, "a window of 65 tokens is longer than the model's 64 positions"),
        ({"window": 64, "joiner": None}, None),
    ],
)
def test_what_does_not_fit_is_said(model, file, options, message):
    if message is None:
        assert (
            nodelens_hf.perplexity(model, str(file), tokenizer="bytes", **options).tokens == 63 * 5
        )
        return
    with pytest.raises(DataError, match=message):
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", **options)


def test_the_finding_states_the_protocol(model, file):
    request = InterventionRequest(
        model=model, graph=None, scores=None, batches=[], seed=0, device=torch.device("cpu"),
        means={}, progress=None,
    )  # fmt: skip
    finding = Perplexity((str(file),), "bytes", window=16, stride=8).run(request)
    assert "windows of 16 tokens every 8, documents joined by " in finding.headline[0]
    assert finding.data["tokens_counted"] == finding.data["bytes_counted"] == 327
    assert json.dumps(finding.data)
