"""Integers that must follow: several at once, and what is said where none can."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask
from nodelens.removal.removal import remove

X = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Split(nn.Module):
    """Three branches from one fused layer, their sizes in one list."""

    def __init__(self, sizes=(6, 4, 10)):
        super().__init__()
        self.split_sizes = list(sizes)
        self.fused = nn.Linear(7, sum(sizes))
        self.reads = nn.ModuleList([nn.Linear(size, 3) for size in sizes])

    def forward(self, x):
        parts = self.fused(x).split(self.split_sizes, -1)
        return sum(read(torch.tanh(part)) for read, part in zip(self.reads, parts, strict=True))


def by_width(graph):
    return {group.width: group.name for group in graph if group.prunable}


def test_all_sizes_of_a_list_follow_at_once():
    model = Split().double()
    names = by_width(infer(model, X))
    keep = {names[6]: [0, 5], names[4]: [1, 2, 3], names[10]: [7]}
    result = remove(model, infer(model, X), keep, X)
    assert model.split_sizes == [2, 3, 1]
    assert [str(rule) for rule in result.rules] == [
        "Split.split_sizes[:] follows axis 0 of fused.weight"
    ]
    other = Split().double()
    assert remove(other, infer(other, X), keep, X, hints=result.rules).rules == result.rules


class Grouped(nn.Module):
    """Query, key and value sizes in three integers of one head count, none of which works alone."""

    def __init__(self, heads=4, size=3):
        super().__init__()
        self.sizes = (heads * size * 2, heads * size, heads * size)
        self.size = size
        self.fused, self.out = nn.Linear(7, 4 * heads * size), nn.Linear(2 * heads * size, 3)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (-1, self.size)).transpose(1, 2)
            for part in self.fused(x).split(self.sizes, -1)
        )
        k, v = (part.repeat_interleave(2, 1) for part in (k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2), -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def test_integers_of_one_head_count_follow_together():
    model = Grouped().double()
    graph = infer(model, X)
    (heads,) = [group.name for group in graph if group.prunable and group.width == 4]
    result = remove(model, graph, {heads: [1, 2, 3]}, X)
    assert result.verdicts[0].status == "exact"
    assert model.sizes == (18, 9, 9)


class OneSize(nn.Module):
    """Two layers that share one integer: their nodes can go together only."""

    def __init__(self, fixed=False):
        super().__init__()
        self.size = 8
        self.a, self.b, self.c = nn.Linear(7, 8), nn.Linear(7, 8), nn.Linear(8, 3)
        self.d = nn.Linear(8, 3)
        self.limit = 12 if fixed else 0

    def forward(self, x):
        left, right = self.a(x), self.b(x)
        if left.shape[-1] + right.shape[-1] < self.limit:
            raise ValueError("too few of both")
        return self.c(torch.tanh(left)) + self.d(torch.tanh(right))


def test_groups_that_can_go_alone_and_not_together_are_told():
    model = OneSize(fixed=True)
    x = X.float()
    keep = {"a:neurons": [0, 1, 2, 3, 4], "b:neurons": [0, 1, 2, 3, 4]}
    with pytest.raises(
        ModelError,
        match=r"nodes of a:neurons, b:neurons cannot be removed: each can be removed alone, not "
        r"together; in the model, ValueError: too few of both",
    ):
        remove(model, infer(model, x), keep, x)


class TwoFaults(nn.Module):
    """One size that follows, and behind it one that is written into the code."""

    def __init__(self):
        super().__init__()
        self.size = 8
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.tanh(self.a(x).view(2, -1, self.size))
        if h.shape[-1] % 8:
            raise ValueError("sizes must be aligned to 8")
        return self.b(h)


def test_the_furthest_trouble_is_reported():
    model = TwoFaults().double()
    with pytest.raises(ModelError, match="ValueError: sizes must be aligned to 8"):
        remove(model, infer(model, X), {"a:neurons": [0, 1, 2, 3, 4]}, X)
    assert model.size == 8


class OneHeadSize(nn.Module):
    """Attention with one head size for queries, keys and values."""

    def __init__(self, heads=4, size=6):
        super().__init__()
        self.heads, self.size, self.width, self.other = heads, size, heads * size, 2 * size
        self.q, self.k, self.v = (nn.Linear(7, heads * size) for _ in range(3))
        self.out = nn.Linear(heads * size, 3)

    def forward(self, x):
        q, k, v = (
            f(x).view(*x.shape[:-1], self.heads, self.size).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / self.size**0.5, -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def test_one_size_for_queries_keys_and_values_is_known_without_a_trial():
    graph = infer(OneHeadSize().double(), X)
    (values,) = [each for each in graph if each.kind == "value_dim"]
    assert values.frozen == "model sizes queries, keys and values of a head by one number"


class ByRest(OneHeadSize):
    """The size of values is what is left of their axis."""

    def forward(self, x):
        q, k = (f(x).view(*x.shape[:-1], self.heads, self.size) for f in (self.q, self.k))
        v = self.v(x).reshape(*x.shape[:-1], self.heads, -1).transpose(1, 2)
        weights = torch.softmax(q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / self.size**0.5, -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class TwoHeadSizes(OneHeadSize):
    """Values have a number of their own, which is that of queries and keys by chance."""

    def __init__(self):
        super().__init__()
        self.value_size = self.size

    def forward(self, x):
        q, k = (f(x).view(*x.shape[:-1], self.heads, self.size) for f in (self.q, self.k))
        v = self.v(x).view(*x.shape[:-1], self.heads, self.value_size).transpose(1, 2)
        weights = torch.softmax(q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / self.size**0.5, -1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("build", [ByRest, TwoHeadSizes])
def test_values_with_a_size_of_their_own_lose_nodes(build):
    model = build().double()
    graph = infer(model, X)
    (values,) = [each.name for each in graph if each.kind == "value_dim"]
    result = remove(model, graph, {values: [0, 2, 3, 5]}, X)
    assert result.verdicts[0].status == "exact"
    assert model.out.in_features == 16


class Blocks(nn.Module):
    """Blocks, some of which are written for one width."""

    def __init__(self, fixed):
        super().__init__()
        self.blocks = nn.ModuleList(Block(each) for each in fixed)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


class Block(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.up, self.down, self.fixed = nn.Linear(7, 8), nn.Linear(8, 7), fixed

    def forward(self, x):
        h = torch.relu(self.up(x))
        return self.down(h.reshape(-1, 5, 8) if self.fixed else h)


def test_what_is_refused_is_kept_and_the_rest_removed_in_one_check():
    model = Blocks([False, True, False, True]).double()
    graph = infer(model, X)
    keep = {each.name: [0, 1, 5] for each in graph if each.prunable}
    assert len(keep) == 4
    with mask(model, graph, {name: keep[name] for name in keep if name[7] in "02"}):
        expected = model(X)
    result = graph_remove(model, graph, keep)
    assert list(result.keep) == ["blocks.0.up:neurons", "blocks.2.up:neurons"]
    assert list(result.refused) == ["blocks.1.up:neurons", "blocks.3.up:neurons"]
    assert "h.reshape(-1, 5, 8)" in result.refused["blocks.1.up:neurons"]
    assert [each.status for each in result.verdicts] == ["exact", "exact"]
    assert torch.allclose(model(X), expected)
    assert "blocks.3.up:neurons: nodes of blocks.3.up:neurons cannot be removed" in str(result)


def graph_remove(model, graph, keep):
    return remove(model, graph, keep, X.to(next(model.parameters()).dtype), refused="keep")


def test_all_groups_that_are_refused_are_named():
    model = Blocks([True, False, True]).double()
    graph = infer(model, X)
    keep = {each.name: [0, 1, 5] for each in graph if each.prunable}
    with pytest.raises(ModelError, match=r"^nodes of blocks.0.up:neurons, blocks.2.up:neurons can"):
        remove(model, graph, keep, X)
    assert [block.up.out_features for block in model.blocks] == [8, 8, 8]


def test_where_all_is_refused_nothing_is_removed():
    model = Blocks([True]).double()
    graph = infer(model, X)
    result = graph_remove(model, graph, {"blocks.0.up:neurons": [0]})
    assert result.keep == {}
    assert list(result.refused) == ["blocks.0.up:neurons"]
    assert model.blocks[0].up.out_features == 8


def test_of_groups_that_exclude_each_other_one_is_kept():
    model = OneSize(fixed=True)
    keep = {"a:neurons": [0, 1, 2, 3, 4], "b:neurons": [0, 1, 2, 3, 4]}
    result = graph_remove(model, infer(model, X.float()), keep)
    assert list(result.keep) == ["a:neurons"]
    assert list(result.refused) == ["b:neurons"]


def test_what_happens_to_refused_groups_is_one_of_two_words():
    model = Blocks([False]).double()
    with pytest.raises(ModelError, match="refused must be 'error' or 'keep', got 'skip'"):
        remove(model, infer(model, X), {"blocks.0.up:neurons": [0]}, X, refused="skip")
