from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from nodelens.data.contract import Samples
from nodelens.data.splits import batches
from nodelens.errors import DataError, ModelError
from nodelens.statistics.contract import IGNORED
from nodelens.training.evaluation import evaluate
from nodelens_hf.recovery import Recovery, recover
from nodelens_hf.windows import next_tokens


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=30, max_position_embeddings=16,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def samples():
    rows = (torch.arange(8) + torch.arange(12).unsqueeze(1)) % 30
    return Samples(rows, next_tokens(rows))


FAST = Recovery(steps=40, batch_size=6, learning_rate=0.01)


def test_training_lowers_the_loss_and_leaves_the_mode(model, samples):
    before = evaluate(model, batches(samples, 12)).loss
    losses = recover(model, samples, FAST)
    assert len(losses) == 40
    assert evaluate(model, batches(samples, 12)).loss < 0.7 * before
    assert not model.training


def test_one_seed_gives_one_result(model, samples):
    other = copy.deepcopy(model)
    assert recover(model, samples, FAST) == recover(other, samples, FAST)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_distillation_learns_what_the_dense_model_predicts(model, samples):
    dense = copy.deepcopy(model)
    recover(dense, samples, FAST)
    kept = copy.deepcopy(dense.state_dict())
    alone = Recovery(steps=60, batch_size=12, learning_rate=0.01, distillation=1.0)
    losses = recover(model, samples, alone, dense)
    assert losses[-1] < 0.2 * losses[0]
    assert all(torch.equal(kept[name], value) for name, value in dense.state_dict().items())


def test_a_model_has_nothing_to_learn_from_itself(model, samples):
    alone = Recovery(steps=1, distillation=1.0, temperature=2.0)
    assert recover(model, samples, alone, copy.deepcopy(model)) == pytest.approx((0.0,), abs=1e-6)


def test_mistakes_are_said(model, samples):
    with pytest.raises(DataError, match="no row of a batch has a label"):
        recover(model, Samples(samples.inputs, torch.full_like(samples.targets, IGNORED)), FAST)
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.inf)
    with pytest.raises(ModelError, match="the loss of step 1 is nan; lower the learning rate"):
        recover(model, samples, FAST)
