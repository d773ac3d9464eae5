"""Half of every prunable group removed at once, over transformers' architectures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from nodelens.channels.infer import infer
from nodelens.removal.removal import remove
from nodelens.removal.verify import random_keep


def _suite():
    place = Path(__file__).with_name("architectures.py")
    spec = importlib.util.spec_from_file_location("hf_architectures", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARCHITECTURES = _suite()


def removable(graph):
    """Return the groups whose size the models can express: all but the width of the values.

    Queries, keys and values share one ``head_dim`` in every one of these models.
    """
    return [group for group in graph if group.prunable and group.kind != "value_dim"]


def half(group):
    """Return a random half, of larger groups in fours: products of experts want aligned sizes."""
    removed = group.width // 8 * 4 or group.width // 2
    return random_keep(group, removed / group.width, 0)


SLOW = ("mobilenet_v2", "swin", "t5", "mixtral")
CASES = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in sorted(ARCHITECTURES.SUITE)
]


@pytest.mark.parametrize("name", CASES)
def test_half_of_every_group_at_once(name):
    model, inputs = ARCHITECTURES.build(name)
    graph = infer(model, **inputs)
    groups = removable(graph)
    assert groups
    keep = {group.name: half(group) for group in groups}
    removal = remove(model, graph, keep, **inputs)
    for verdict in removal.verdicts:
        assert verdict.status == "exact" or graph[verdict.group].normalised
    assert removal.parameters[1] < removal.parameters[0]
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    other, _ = ARCHITECTURES.build(name)
    remove(other, graph, keep, **inputs, hints=removal.rules)
    other.load_state_dict(state)
    assert torch.equal(other(**inputs)[0], model(**inputs)[0])


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "phi3", "t5", "vit"])
def test_heads_and_neurons_alone_are_exact(name):
    model, inputs = ARCHITECTURES.build(name)
    graph = infer(model, **inputs)
    keep = {
        group.name: random_keep(group, 0.5, 1) for group in removable(graph) if not group.normalised
    }
    removal = remove(model, graph, keep, **inputs)
    assert {verdict.status for verdict in removal.verdicts} == {"exact"}
    assert max(verdict.difference for verdict in removal.verdicts) < 1e-9


def test_one_layer_alone_gets_a_config_of_its_own():
    model, inputs = ARCHITECTURES.build("phi3")
    graph = infer(model, **inputs)
    group = next(group for group in removable(graph) if group.kind == "kv_groups")
    remove(model, graph, {group.name: [1]}, **inputs)
    first, second = (layer.self_attn for layer in model.model.layers)
    assert (first.config.num_attention_heads, second.config.num_attention_heads) == (2, 4)
    assert second.config is model.config
