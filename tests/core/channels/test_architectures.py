"""The architecture suite: which nodes can be removed, and that sites and slices agree."""

from __future__ import annotations

import pytest
from tests.core.channels.agreement import as_double, disagreement
from tests.core.channels.architectures import SUITE, build

from nodelens.channels.infer import infer

# Per model: width and kind of every prunable group, in the order of the forward.
PRUNABLE = {
    "mlp": "12 neurons, 10 neurons",
    "vgg": "6 channels, 8 channels, 10 neurons",
    "resnet": "6 channels, 6 channels, 10 channels, 10 channels",
    "densenet": "4 channels, 5 channels, 5 channels, 5 channels, 8 channels",
    "mobilenet": "6 channels, 14 channels",
    "unet": "4 channels, 6 channels, 8 channels, 6 channels, 5 channels, 7 channels",
    "squeeze_excite": "8 residual, 4 neurons, 6 channels",
    "wavenet": "6 channels, 5 channels, 8 channels, 5 channels, 5 channels",
    "lstm": "7 neurons, 5 residual, 9 neurons",
    "gru": "7 neurons, 5 residual, 9 neurons",
    "transformer_encoder": "12 residual, 20 neurons, 20 neurons",
    "channel_shuffle": "2 channels, 4 channels, 6 channels",
    "channel_shuffle_module": "2 channels, 4 channels, 6 channels",
    "pixel_shuffle": "6 channels, 5 channels",
    "pixel_unshuffle": "6 channels, 5 channels",
    "group_norm": "4 channels, 2 channels, 6 channels",
    "grouped": "4 channels, 2 channels, 3 channels",
    "depth_multiplier": "5 channels, 2 channels",
    "conv1d": "6 channels, 4 channels",
    "conv3d": "6 channels",
    "transposed": "3 neurons, 2 channels, 3 channels, 2 channels",
    "mixer": "10 residual, 7 neurons, 11 neurons, 7 neurons, 11 neurons",
    "conv_mixed": "6 neurons",
    "bilinear": "6 neurons, 7 neurons, 8 neurons",
    "layer_scale": "6 residual, 10 neurons",
    "weight_norm": "6 neurons, 5 neurons",
    "spectral_norm": "6 neurons, 5 neurons",
    "several_ends": "6 channels, 8 neurons",
    "einsum": "6 neurons, 3 neurons, 5 neurons, 7 neurons",
    "auxiliary": "6 channels, 8 channels",
    "cross_attention": "3 heads, 12 residual",
    "experts": "6 residual, 8 neurons, 8 neurons, 8 neurons",
}

NORMALISED = {
    "transformer_encoder": {"0:residual"},
    "group_norm": {"0:channels:2"},
    "mixer": {"patch:residual"},
    "weight_norm": {"0:neurons"},
    "spectral_norm": {"0:neurons", "2:neurons"},
}

FROZEN = {
    ("mlp", "0:inputs"): "model input",
    ("lstm", "embed:vocabulary"): "vocabulary",
    ("transformer_encoder", "1.layers.0.self_attn:heads"): (
        "1.layers.0.self_attn, torch's own attention, makes heads × head_dim the width "
        "that it reads"
    ),
    ("transformer_encoder", "1.layers.0.self_attn:head_dim"): (
        "queries and keys are multiplied, so that no weight reads it, in 1.layers.0.self_attn"
    ),
    ("pixel_shuffle", "2:channels:2"): "becomes positions in 3 (pixel shuffle)",
    ("experts", "router:neurons"): "reduced by argmax in the model",
    ("mixer", "blocks.0.tokens2:residual"): "positions",
}


@pytest.mark.parametrize("name", SUITE)
def test_groups_of_the_suite(name):
    model, inputs = build(name)
    graph = infer(model, *inputs)
    assert graph.traced
    assert not graph.unknown_operators
    assert not graph.unused
    prunable = ", ".join(f"{group.width} {group.kind}" for group in graph if group.prunable)
    assert prunable == PRUNABLE[name]
    normalised = {group.name for group in graph if group.prunable and group.normalised}
    assert normalised == NORMALISED.get(name, set())


@pytest.mark.parametrize(("model", "group"), FROZEN)
def test_reasons_of_the_suite(model, group):
    network, inputs = build(model)
    assert infer(network, *inputs)[group].frozen == FROZEN[model, group]


@pytest.mark.parametrize("name", SUITE)
def test_masking_a_node_is_cutting_off_who_reads_it(name):
    model, inputs = build(name)
    model, inputs = model.double(), as_double(inputs)
    graph = infer(model, *inputs)
    for group in graph:
        if group.prunable and not group.normalised:
            difference, effect = disagreement(model, graph, group, inputs, {})
            assert difference < 1e-10, group.name
            assert effect > 0, group.name
