"""Channel inference over transformers models: which nodes, and that sites and slices agree."""

from __future__ import annotations

import pytest
import torch
from tests.core.channels.agreement import as_double, disagreement
from tests.hf.architectures import SUITE, build
from transformers import AutoConfig, AutoModelForCausalLM

from nodelens.channels.infer import infer


def layers(attention, neurons, *, before=("24 residual",)):
    """Return what a transformer of two layers has."""
    return ", ".join([*before, *(part for _ in range(2) for part in (*attention, neurons))])


HEADS = ("4 heads",)
GROUPED = ("2 kv_groups", "2 query_heads")

# Per model: width and kind of every prunable group, in the order of the forward.
PRUNABLE = {
    **dict.fromkeys(
        ("bert", "roberta", "distilbert", "opt", "gpt_neox", "vit"), layers(HEADS, "44 neurons")
    ),
    "gpt2": layers(HEADS, "96 neurons"),
    **dict.fromkeys(("llama", "qwen2", "mistral", "phi3"), layers(GROUPED, "44 neurons")),
    "qwen3": layers(GROUPED, "44 neurons"),
    **dict.fromkeys(("gemma", "gemma3_text"), layers(HEADS, "44 neurons")),
    "gemma4_text": layers(GROUPED, "44 neurons"),
    "mixtral": layers(GROUPED, "44 neurons"),
    "t5": ("4 heads, 44 neurons, 44 neurons, 4 heads, 4 heads, 44 neurons, 44 neurons"),
    "swin": ", ".join(
        (
            *("12 residual", *("2 heads", "48 neurons") * 2),
            *("24 residual", *("4 heads", "96 neurons") * 2),
        )
    ),
    "convnext": (
        "8 residual, 32 neurons, 12 residual, 48 neurons, "
        "16 residual, 64 neurons, 20 residual, 80 neurons"
    ),
    "resnet": "8 channels, 2 channels, 2 channels, 4 channels, 4 channels, 16 channels",
}

FROZEN = {
    ("llama", "model.layers.0.self_attn:head_dim"): (
        "frequencies are repeated (rotary embedding) in model.rotary_emb"
    ),
    ("mixtral", "model.layers.0.mlp.experts:fixed"): (
        "tokens are routed to experts in model.layers.0.mlp.experts"
    ),
    ("mixtral", "model.layers.0.mlp.gate:neurons"): "softmax along it in model.layers.0.mlp.gate",
    ("gpt2", "transformer.h.0.attn:head_dim"): (
        "queries and keys are multiplied, so that no weight reads it, in transformer.h.0.attn"
    ),
    ("llama", "model.layers.0.self_attn:value_dim"): (
        "model.layers.0.self_attn sizes queries, keys and values of a head by one number"
    ),
    ("bert", "cls.predictions.decoder:neurons"): "vocabulary",
    ("t5", "encoder.embed_tokens:residual"): "model output",
}


@pytest.mark.parametrize("name", SUITE)
def test_groups_of_transformers_models(name):
    model, inputs = build(name)
    graph = infer(model, **inputs)
    assert graph.traced
    assert not graph.unknown_operators
    prunable = ", ".join(f"{group.width} {group.kind}" for group in graph if group.prunable)
    if name == "mobilenet_v2":
        assert prunable.count("channels") == 25
    else:
        assert prunable == PRUNABLE[name]


@pytest.mark.parametrize(("model", "group"), FROZEN)
def test_reasons_of_transformers_models(model, group):
    network, inputs = build(model)
    assert infer(network, **inputs)[group].frozen == FROZEN[model, group]


@pytest.mark.parametrize("name", SUITE)
def test_masking_a_node_is_cutting_off_who_reads_it(name):
    model, inputs = build(name)
    exact = name != "mixtral"  # its grouped product knows no float64
    if exact:
        model, inputs = model.double(), as_double(inputs)
    graph = infer(model, **inputs)
    for group in graph:
        if group.prunable and not group.normalised:
            difference, _ = disagreement(model, graph, group, (), inputs, nodes=(-1,))
            assert difference < (1e-10 if exact else 1e-5), group.name


def test_experts_called_one_by_one_give_the_same_groups():
    _, inputs = build("mixtral")
    config = build("mixtral")[0].config
    eager = AutoModelForCausalLM.from_config(config, experts_implementation="eager")
    graph = infer(eager, **inputs)
    assert [group.name for group in graph] == [
        group.name for group in infer(build("mixtral")[0], **inputs)
    ]


def test_heads_of_one_group_of_keys_stay_together():
    model, inputs = build("llama")
    extents = {
        part.parameter.split(".")[-2]: (part.extent.width, part.extent.inner, part.extent.outer)
        for part in infer(model, **inputs)["model.layers.0.self_attn:kv_groups"].slices
    }
    assert extents == {
        "q_proj": (2, 12, 1), "k_proj": (2, 6, 1), "v_proj": (2, 6, 1), "o_proj": (2, 12, 1)
    }  # fmt: skip


def test_a_model_of_a_billion_parameters_needs_no_weights():
    config = AutoConfig.for_model(
        "llama", hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
        num_attention_heads=32, num_key_value_heads=4, vocab_size=32000,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1e9
    graph = infer(model, torch.zeros(1, 7, dtype=torch.long))
    assert sum(group.prunable for group in graph) == 1 + 3 * 22
    assert all(parameter.is_meta for parameter in model.parameters())


def test_long_rows_are_traced_as_short_ones_are():
    model, _ = build("llama")
    short, long = (infer(model, torch.zeros(2, length).long()) for length in (7, 600))
    assert long.traced
    assert [group.name for group in long] == [group.name for group in short]
