"""Training pruned language models: all weights, adapters, the dense model's predictions."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from attrs import evolve
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import nodelens
import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.config.options import structure_options
from nodelens.data.splits import batches
from nodelens.errors import ConfigError, ModelError
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.recovery import RecoveryRequest
from nodelens.recovery.fine_tune import Distillation, FineTune
from nodelens.removal.removal import remove
from nodelens.testing.recovery_checks import check_recovery, example_request
from nodelens.training.model_evaluation import evaluate
from nodelens_hf.adapters import find_targets
from nodelens_hf.hints import HINTS
from nodelens_hf.lora import LoRA
from nodelens_hf.windows import next_tokens

pytest.importorskip("peft")

LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "vocab_size": 30, "max_position_embeddings": 16,
}  # fmt: skip
FAST = {"steps": 40, "learning_rate": 0.01}
RECOVERIES = [FineTune(**FAST), LoRA(**FAST)]
KINDS = pytest.mark.parametrize("recovery", RECOVERIES, ids=["fine_tune", "lora"])


def model_of(**changes) -> nn.Module:
    options = {**LLAMA, **changes}
    torch.manual_seed(0)
    config = AutoConfig.for_model(options.pop("model_type"), use_cache=False, **options)
    return AutoModelForCausalLM.from_config(config).eval()


def samples_of() -> Samples:
    rows = (torch.arange(8) + torch.arange(24).unsqueeze(1)) % 30
    return Samples(rows, next_tokens(rows))


def request_of(model: nn.Module, dense: nn.Module | None = None, **changes) -> RecoveryRequest:
    samples = samples_of()
    request = RecoveryRequest(model, dense or model, samples, samples, 12, 0, torch.device("cpu"))
    return evolve(request, **changes)


def loss(model: nn.Module) -> float:
    return evaluate(model, batches(samples_of(), 24)).loss


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    """A model that has learned to count."""
    model = model_of()
    FineTune(steps=100, learning_rate=0.02).recover(request_of(model))
    return model


def cut(model: nn.Module, keep: dict[str, range]) -> nn.Module:
    smaller, tokens = copy.deepcopy(model), samples_of().inputs[:2]
    remove(smaller, infer(smaller, tokens), keep, tokens, hints=HINTS)
    return smaller


NEURONS = {f"model.layers.{layer}.mlp:neurons": range(12) for layer in (0, 1)}


@pytest.fixture(scope="module")
def half(dense):
    return cut(dense, {**NEURONS, "model.embed_tokens:residual": range(0, 16, 2)})


@pytest.fixture
def pruned(half):
    """The same with half of its neurons and half of its width."""
    return copy.deepcopy(half)


@pytest.mark.parametrize(
    "check",
    [
        each
        for recovery in (LoRA(steps=3), LoRA(steps=3, dropout=0.2, distillation=Distillation()))
        for each in check_recovery(recovery)
    ],
    ids=str,
)
def test_lora_keeps_the_contract(check):
    check.run()


@KINDS
def test_a_pruned_model_gets_better_and_keeps_its_widths(dense, pruned, recovery):
    before = loss(pruned)
    assert before > loss(dense) + 0.1
    shapes = {name: value.shape for name, value in pruned.state_dict().items()}
    recovery.recover(request_of(pruned, dense))
    assert loss(pruned) < loss(dense) + 0.5 * (before - loss(dense))
    assert {name: value.shape for name, value in pruned.state_dict().items()} == shapes
    assert pruned.model.layers[0].mlp.up_proj.out_features == 12


@KINDS
def test_a_recovered_model_is_saved_and_loads_with_the_same_outputs(tmp_path, dense, recovery):
    model = cut(dense, NEURONS)
    recovery.recover(request_of(model))
    assert nodelens_hf.save(model, tmp_path / "model") == "transformers"
    tokens = samples_of().inputs
    expected = model(tokens).logits
    assert torch.equal(nodelens_hf.load(tmp_path / "model")(tokens).logits, expected)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(plain(tokens).logits, expected)
    assert not any("lora" in name for name in plain.state_dict())


@KINDS
def test_distillation_lowers_the_divergence_from_the_dense_model(dense, pruned, recovery):
    kept = copy.deepcopy(dense.state_dict())
    distilled = evolve(recovery, batch_size=24, distillation=Distillation(1.0, 1.0))
    steps = distilled.recover(request_of(pruned, dense)).steps
    assert steps[-1].divergence < 0.5 * steps[0].divergence
    assert all(torch.equal(kept[name], value) for name, value in dense.state_dict().items())


def test_adapters_change_the_chosen_layers_by_their_rank_and_nothing_else(pruned):
    before = copy.deepcopy(pruned.state_dict())
    recovered = LoRA(**FAST, rank=2, targets=("*.mlp.*", "*.0.self_attn.q_proj")).recover(
        request_of(pruned)
    )
    changed = {
        name: torch.linalg.matrix_rank(value - before[name], rtol=1e-4).item()
        for name, value in pruned.state_dict().items()
        if not torch.equal(value, before[name])
    }
    kinds = [f"mlp.{kind}_proj" for kind in ("gate", "up", "down")]
    layers = [f"model.layers.{layer}.{kind}.weight" for layer in (0, 1) for kind in kinds]
    assert sorted(changed) == sorted([*layers, "model.layers.0.self_attn.q_proj.weight"])
    assert set(changed.values()) <= {1, 2}
    assert recovered.weights == 2 * (6 * (8 + 12) + (8 + 16))


def test_the_update_is_scaled_by_alpha_over_rank():
    request = example_request()
    request.model[2].p = 0.0
    twin = copy.deepcopy(request)
    # From B = 0 the first step of AdamW changes B by the rate, whatever the size of its gradient.
    LoRA(steps=1, alpha=8.0, rank=8, learning_rate=1e-3).recover(request)
    LoRA(steps=1, alpha=16.0, rank=8, learning_rate=1e-3).recover(twin)
    start = example_request().model[3].weight
    one, two = (each.model[3].weight - start for each in (request, twin))
    torch.testing.assert_close(two, 2 * one, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 3},
        {"alpha": 4.0},
        {"dropout": 0.3},
        {"targets": ("0",)},
        {"steps": 6},
        {"batch_size": 5},
        {"learning_rate": 0.02},
        {"schedule": "constant"},
        {"warmup": 2},
        {"weight_decay": 0.5},
        {"max_grad_norm": 0.01},
        {"split": "calibration"},
        {"distillation": Distillation()},
    ],
)
def test_every_option_changes_the_weights(change):
    found = []
    for options in ({}, change):
        request = example_request()
        LoRA(**{"steps": 5, "learning_rate": 0.01, "rank": 4, **options}).recover(request)
        found.append(torch.cat([each.detach().flatten() for each in request.model.parameters()]))
    assert not torch.equal(*found)


def test_weights_that_are_shared_get_no_adapter():
    model = model_of(tie_word_embeddings=True)
    assert "lm_head" not in find_targets(model, ["*"])
    assert "lm_head" in find_targets(model_of(), ["*"])
    embedding = model.model.embed_tokens.weight.clone()
    LoRA(**FAST).recover(request_of(model))
    assert torch.equal(model.model.embed_tokens.weight, embedding)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    with pytest.raises(ModelError, match="no linear layer or convolution with a weight of its own"):
        LoRA(targets=("lm_head",)).check(request_of(model))


def test_the_layers_of_gpt2_and_convolutions_get_adapters():
    gpt2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    model = model_of(**gpt2)
    before = copy.deepcopy(model.state_dict())
    LoRA(**FAST).recover(request_of(model))
    after = model.state_dict()
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert "transformer.h.0.attn.c_attn.weight" in moved
    assert "transformer.wte.weight" not in moved
    convolutions = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 2))
    assert find_targets(convolutions, ["*"]) == ["0", "2"]


def test_a_model_in_bfloat16_keeps_its_precision():
    model = model_of().to(torch.bfloat16)
    before = loss(model)
    LoRA(steps=20, learning_rate=0.02).recover(request_of(model))
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    assert loss(model) < before


def test_a_failure_leaves_no_adapter():
    model = model_of()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match="lower the learning_rate of the recovery"):
        LoRA(steps=40, learning_rate=1e30).recover(request_of(model))
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(each.requires_grad for each in model.parameters())


def test_mistakes_are_said(monkeypatch):
    request = request_of(model_of())
    with pytest.raises(ModelError, match=r"is called 'mlp\.up'; there are .* and 7 more"):
        LoRA(targets=("mlp.up",)).check(request)
    with pytest.raises(ModelError, match="the model has none"):
        LoRA().check(request_of(nn.Sequential(nn.Embedding(30, 4))))
    with pytest.raises(ConfigError, match="rank: expected a whole number above 0"):
        structure_options(LoRA, {"rank": 0})
    with pytest.raises(ConfigError, match=r"largest_norm: .* it is called 'max_grad_norm' now"):
        structure_options(LoRA, {"largest_norm": 1})
    with pytest.raises(ConfigError, match="warmup of 9 steps leaves none of 9"):
        structure_options(LoRA, {"steps": 9, "warmup": 9})
    monkeypatch.setattr("nodelens_hf.adapters.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'nodelens-hf\[lora\]'"):
        LoRA().check(request)


def test_a_run_recovers_and_saves_what_it_recovered(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join("the quick brown fox. " * n for n in range(1, 12)))
    data = {"name": "text", "files": [str(tmp_path / "a.txt")], "tokenizer": "bytes"}
    llama = {**LLAMA, "vocab_size": 259, "max_position_embeddings": 32}
    run = nodelens.run(
        {
            "name": "lm",
            "model": {"name": "hf", "config": llama},
            "data": {**data, "window": 32, "batch_size": 8},
            "training": {"epochs": 4, "learning_rate": 0.01},
            "capture": {"samples": 16, "folds": 4},
            "pruning": {"name": "magnitude", "sparsity": 0.5, "protect": ["*:residual", "*dim"]},
            "recovery": [
                {"name": "lora", **FAST, "distillation": {"temperature": 1}},
                {"name": "fine_tune", **FAST, "split": "calibration"},
            ],
            "reports": ["json"],
            "output": str(tmp_path / "outputs"),
        }
    )
    for label in ("lora", "fine_tune"):
        found = json.loads(run.read_text(f"findings/recovery.magnitude.{label}.json"))
        data = found["data"]
        assert data["perplexity"][2] < data["perplexity"][1]
        assert found["tables"][0]["columns"][3:5] == ["perplexity", "perplexity se"]
        assert data["samples"] == (16 if label == "fine_tune" else data["samples"])
        folder = run.path / data["model"]["folder"]
        assert folder == run.path / f"pruned/magnitude/recovered/{label}/model"
        state = nodelens_hf.load(folder).state_dict()
        assert not any("lora" in name for name in state)
        assert json.loads((folder / "config.json").read_text())["use_cache"]
        card = (folder / "README.md").read_text()
        assert f"pruned by magnitude, recovered by {label}" in card
        assert "## Recovery" in card
        assert "| recovered |" in card
        assert "pruned/magnitude/model" not in card
    stages = run.record().stages
    written = stages["recovery.magnitude.lora"].files
    assert any("/model/" in name and name.endswith(".safetensors") for name in written)
