"""Neither the side nor the amount of padding, nor packing, changes a score."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import nodelens
from nodelens.capture.batches import Batch
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf.tokenizers import load_tokenizer
from nodelens_hf.windows import next_tokens, padded

METRICS = ["activation_rms", "activation_variance", "loss_proxy", "taylor"]
DOCUMENTS = [list(range(3, 3 + length)) for length in (4, 9, 2, 7, 5, 12)]
BYTES = load_tokenizer("bytes")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=300, max_position_embeddings=128,
    )  # fmt: skip
    found = AutoModelForCausalLM.from_config(config).eval()
    found.config.use_cache = False
    return found


def batch(side="right", more=0):
    inputs, mask = padded(DOCUMENTS, 100, BYTES)
    targets = next_tokens(inputs).masked_fill(next_tokens(mask) != 1, IGNORED)
    rows = torch.nn.functional.pad(torch.stack([inputs, mask, targets]), (0, more))
    if side == "left":
        lengths = [len(each) for each in DOCUMENTS]
        rows = torch.stack(
            [row.roll(rows.shape[2] - n, 1) for row, n in zip(rows.unbind(1), lengths, strict=True)]
        ).transpose(0, 1)
    inputs, mask, targets = rows
    position = (mask.cumsum(1) - 1).clamp(min=0)
    return {
        "input_ids": inputs, "attention_mask": mask, "position_ids": position, "targets": targets
    }  # fmt: skip


def packed():
    """Return all documents in two rows, which say where each begins."""
    rows = [[i for each in part for i in each] for part in (DOCUMENTS[:3], DOCUMENTS[3:])]
    ends = [[len(each) for each in DOCUMENTS[:3]], [len(each) for each in DOCUMENTS[3:]]]
    for row, lengths in zip(rows, ends, strict=True):
        position = torch.cat([torch.arange(n) for n in lengths]).unsqueeze(0)
        segments = torch.repeat_interleave(torch.tensor(lengths)).unsqueeze(0)
        inputs = torch.tensor([row])
        targets = next_tokens(inputs).masked_fill(next_tokens(position) <= 0, IGNORED)
        yield Batch((), {"input_ids": inputs, "position_ids": position}, targets, segments=segments)


def scores(model, batches):
    found = nodelens.score(model, batches, METRICS, folds=2)
    assert not found.failed
    return {(each.metric, each.group): torch.from_numpy(each.values) for each in found}


@pytest.mark.parametrize(("side", "more"), [("right", 5), ("left", 0), ("left", 9)])
def test_padding_changes_no_score(model, side, more):
    expected, found = scores(model, [batch()]), scores(model, [batch(side, more)])
    assert expected.keys() == found.keys()
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=1e-4, atol=1e-9)


def test_rows_one_by_one_without_padding_give_the_same_scores(model):
    single = [
        {"input_ids": torch.tensor([ids]), "targets": next_tokens(torch.tensor([ids]))}
        for ids in DOCUMENTS
    ]
    expected, found = scores(model, [batch()]), scores(model, single)
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=1e-4, atol=1e-9)


def test_packing_changes_no_score(model):
    expected, found = scores(model, [batch()]), scores(model, list(packed()))
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=1e-4, atol=1e-9)
