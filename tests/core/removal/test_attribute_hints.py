"""What a backend knows: integers of modules and configs follow, read by the forward or not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.graph import infer
from nodelens.removal.attribute_hints import AttributeHint
from nodelens.removal.removal import remove

X = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.intermediate = config, config.intermediate_size
        self.up = nn.Linear(12, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, 12)
        self.q = nn.Linear(12, config.num_attention_heads * config.head_dim)
        self.k, self.v = (
            nn.Linear(12, config.num_key_value_heads * config.head_dim) for _ in range(2)
        )
        self.out = nn.Linear(config.num_attention_heads * config.head_dim, 12)

    def forward(self, x):
        heads = (*x.shape[:-1], -1, self.config.head_dim)
        q, k, v = (f(x).view(heads).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(torch.tanh(self.up(x)))


class Model(nn.Module):
    """Blocks with one config, as in transformers: its sizes are read when a model is built."""

    def __init__(self, **sizes):
        super().__init__()
        known = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 10}
        self.config = SimpleNamespace(**{**known, "head_dim": 4, **sizes})
        self.blocks = nn.ModuleList([Block(self.config) for _ in range(2)])
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


HINTS = (
    AttributeHint("config.intermediate_size", ("*.up:neurons",)),
    AttributeHint("*.intermediate", ("*.up:neurons",)),
    AttributeHint("config.num_key_value_heads", ("*:kv_groups",)),
    AttributeHint("config.num_attention_heads", ("*:kv_groups", "*:query_heads")),
)


@pytest.fixture
def model():
    return Model().double()


def neurons(graph):
    return [group.name for group in graph if group.name.endswith("up:neurons")]


def test_a_config_that_no_forward_reads_follows_and_builds_the_smaller_model(model):
    graph = infer(model, X)
    keep = {name: [1, 2, 7] for name in neurons(graph)}
    keep |= {group.name: [1] for group in graph if group.kind == "kv_groups"}
    removal = graph.remove(model, keep, X, hints=HINTS)
    assert vars(model.config) == {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 3,
        "head_dim": 4,
    }
    assert all(block.config is model.config and block.intermediate == 3 for block in model.blocks)
    assert set(HINTS) <= set(removal.rules)
    other = Model(**vars(model.config)).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))


def test_without_hints_it_stays(model):
    graph = infer(model, X)
    remove(model, graph, {name: [1, 2] for name in neurons(graph)}, X)
    assert model.config.intermediate_size == 10


def test_layers_that_differ_are_noted_and_modules_follow_their_own(model):
    graph = infer(model, X)
    first, second = neurons(graph)
    removal = remove(model, graph, {first: [1, 2], second: [3]}, X, hints=HINTS)
    assert model.config.intermediate_size == 10
    assert [block.intermediate for block in model.blocks] == [2, 1]
    assert removal.notes == ("config.intermediate_size stays 10: its groups now have 2, 1 nodes",)


def test_one_layer_of_two_is_a_difference_too(model):
    graph = infer(model, X)
    removal = remove(model, graph, {neurons(graph)[1]: [3]}, X, hints=HINTS)
    assert model.config.intermediate_size == 10
    assert removal.notes == ("config.intermediate_size stays 10: its groups now have 10, 1 nodes",)


def test_indices_count_the_size_of_heads(model):
    model.config.q_size = 16
    hint = AttributeHint("config.q_size", ("*:kv_groups", "*:query_heads"), "indices")
    graph = infer(model, X)
    keep = {group.name: [0] for group in graph if group.kind == "kv_groups"}
    remove(model, graph, keep, X, hints=[hint])
    assert model.config.q_size == 8


def test_a_hint_that_breaks_the_model_is_not_followed(model):
    model.config.head_dim = 4
    graph = infer(model, X)
    hint = AttributeHint("config.head_dim", ("*.up:neurons",))
    model.config.intermediate_size = 4
    smaller = Model(intermediate_size=4).double()
    graph = infer(smaller, X)
    keep = {name: [1, 2] for name in neurons(graph)}
    removal = remove(smaller, graph, keep, X, hints=[hint])
    assert smaller.config.head_dim == 4
    assert removal.notes == (f"a hint was not followed, the model disagrees with it: {hint}",)


def test_an_integer_of_another_size_is_left_alone(model):
    model.config.other = 11
    graph = infer(model, X)
    hint = AttributeHint("config.other", ("*.up:neurons",))
    removal = remove(model, graph, {neurons(graph)[0]: [1]}, X, hints=[hint])
    assert (model.config.other, removal.rules) == (11, ())


def test_verify_takes_hints(model):
    graph = infer(model, X)
    verdicts = graph.verify(model, X, hints=HINTS)
    assert {verdict.status for verdict in verdicts if "up" in verdict.group} == {"exact"}
    assert model.config.intermediate_size == 10
