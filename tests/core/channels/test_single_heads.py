"""Single query heads where several share keys and values."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.errors import NodelensError
from nodelens.interventions.ablation.options import Ablation
from nodelens.interventions.ablator import maskable

HEADS, GROUPS, DIM, WIDTH = 6, 3, 2, 7


class Attention(nn.Module):
    """Grouped queries; `tiled` repeats all groups one after the other, `fused` is one weight."""

    def __init__(self, tiled=False, fused=False):
        super().__init__()
        torch.manual_seed(0)
        self.tiled, self.fused = tiled, fused
        sizes = (HEADS * DIM, GROUPS * DIM, GROUPS * DIM)
        self.sizes = sizes
        if fused:
            self.qkv = nn.Linear(WIDTH, sum(sizes))
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, size) for size in sizes)
        self.o, self.out = nn.Linear(HEADS * DIM, WIDTH), nn.Linear(WIDTH, 3)

    def mixed(self, x):
        if self.fused:
            parts = self.qkv(x).split(self.sizes, -1)
        else:
            parts = (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.unflatten(-1, (-1, DIM)).transpose(1, 2) for part in parts)
        times = HEADS // GROUPS
        if self.tiled:
            k, v = (each.repeat(1, times, 1, 1) for each in (k, v))
        else:
            k, v = (each.repeat_interleave(times, dim=1) for each in (k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x):
        return self.out(self.o(self.mixed(x)).mean(1))


KINDS = {"repeated": {}, "tiled": {"tiled": True}, "fused": {"fused": True}}
X = torch.randn(24, 5, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(24) % 3


def built(kind="repeated"):
    model = Attention(**KINDS[kind]).double()
    return model, nodelens.infer(model, X[:2])


def single(graph):
    (group,) = [group for group in graph if group.kind == "single_query_heads"]
    return group


@pytest.mark.parametrize("kind", KINDS)
def test_each_query_head_is_a_node(kind):
    model, graph = built(kind)
    group = single(graph)
    assert (group.width, group.components("activation")) == (HEADS, DIM)
    assert not group.prunable
    owner = graph[group.part_of]
    assert any("v." in part.parameter for part in owner.slices)
    assert owner.name in group.frozen
    assert (owner.kind, owner.width) == ("kv_groups", GROUPS)
    for head in range(HEADS):
        keep = [each for each in range(HEADS) if each != head]
        with torch.no_grad(), graph.mask(model, {group.name: keep}):
            masked = model(X)
        read = model.mixed(X).detach().unflatten(-1, (HEADS, DIM)).clone()
        read[..., head, :] = 0.0
        expected = model.out(model.o(read.flatten(2)).mean(1)).detach()
        torch.testing.assert_close(masked, expected)


def test_they_are_scored_by_their_own_vectors():
    model, graph = built()
    scores = nodelens.score(model, [(X, Y)], ["activation_variance"], folds=2)
    read = model.mixed(X).detach().flatten(0, 1)
    expected = read.var(0, correction=0).view(HEADS, DIM).sum(1)
    found = torch.from_numpy(scores["activation_variance", single(graph).name].values)
    torch.testing.assert_close(found, expected)
    assert single(graph).name not in scores.whole_groups


def test_they_are_ablated_where_they_are_named_alone():
    _, graph = built()
    name = single(graph).name
    assert name not in [group.name for group in maskable(graph)]
    assert [group.name for group in maskable(graph, ["*:single_query_heads"])] == [name]
    with pytest.raises(NodelensError, match="single_query_heads"):
        maskable(graph, ["model:single_query_head"])
    assert Ablation(groups=("*:heads",)).groups == ("*:heads",)


def test_they_come_after_no_group_and_are_removed_with_their_group():
    model, graph = built()
    names = [group.name for group in graph if group.at("activation") and not group.part_of]
    scores = nodelens.score(model, [(X, Y)], ["next_layer_information"], folds=2)
    assert set(scores.groups) <= set(names)
    with pytest.raises(NodelensError, match="model:kv_groups"):
        graph.remove(model, {single(graph).name: [0, 1, 2, 3, 4]}, X)


def test_plain_heads_have_no_second_group():
    model = Attention().double()
    model.q = nn.Linear(WIDTH, HEADS * DIM).double()
    model.k, model.v = (nn.Linear(WIDTH, HEADS * DIM).double() for _ in range(2))
    model.mixed = lambda x: (
        F.scaled_dot_product_attention(
            *(
                layer(x).unflatten(-1, (-1, DIM)).transpose(1, 2)
                for layer in (model.q, model.k, model.v)
            )
        )
        .transpose(1, 2)
        .flatten(2)
    )
    kinds = {group.kind for group in nodelens.infer(model, X[:2])}
    assert "heads" in kinds
    assert "single_query_heads" not in kinds
