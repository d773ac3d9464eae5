"""Nodes of several components: heads, groups of heads, flattened maps; and pairs of groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.moments import Moments
from nodelens.statistics.pairs import CrossGram

ROWS, TOKENS, WIDTH, DIM = 7, 5, 12, 3


class Attention(nn.Module):
    """Query heads that share keys and values in groups; one group is one node."""

    def __init__(self, heads=4, groups=4):
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.groups = heads, groups
        self.q = nn.Linear(WIDTH, heads * DIM)
        self.k, self.v = nn.Linear(WIDTH, groups * DIM), nn.Linear(WIDTH, groups * DIM)
        self.o = nn.Linear(heads * DIM, WIDTH)
        self.head = nn.Linear(WIDTH, 6)

    def mixed(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        q = q.view(*x.shape[:2], self.heads, DIM).transpose(1, 2)
        k, v = (t.view(*x.shape[:2], self.groups, DIM).transpose(1, 2) for t in (k, v))
        k, v = (t.repeat_interleave(self.heads // self.groups, dim=1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(*x.shape[:2], -1)

    def forward(self, x):
        return self.head(x + self.o(self.mixed(x)))


def data():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, TOKENS, WIDTH, dtype=torch.float64, generator=g)
    return x, torch.randint(0, 5, (ROWS, TOKENS), generator=g)


def heads_of(model, x):
    """Return the group of the heads, by what writes it."""
    graph = infer(model, x[:2])
    return next(g for g in graph if any(p.parameter == "v.weight" for p in g.role("producer")))


@pytest.mark.parametrize("groups", [4, 2])
def test_the_gate_of_a_head_is_the_product_with_its_whole_vector(groups, capture_of, summary):
    model, (x, y) = Attention(4, groups).double(), data()
    group = heads_of(model, x)
    assert group.width == groups
    got = capture_of(model, [(x[:3], y[:3]), (x[3:], y[3:])], (GradientMoments(), RowGradients()))
    a = model.mixed(x).detach().requires_grad_()
    loss = F.cross_entropy(model.head(x + model.o(a)).flatten(0, 1), y.flatten(), reduction="sum")
    (g,) = torch.autograd.grad(loss, a)
    q = (a.detach() * g).view(ROWS, TOKENS, groups, -1).sum(-1)
    found = summary(got, group.name, GradientMoments())
    assert found.count == ROWS * TOKENS
    assert torch.allclose(found.q2, q.square().mean((0, 1)), rtol=1e-10)
    assert torch.allclose(found.abs_q, q.abs().mean((0, 1)), rtol=1e-10)
    rows = summary(got, group.name, RowGradients())
    assert torch.allclose(rows.q2, q.sum(1).square().mean(0), rtol=1e-10)
    assert torch.allclose(rows.abs_mean_q, q.mean(1).abs().mean(0), rtol=1e-10)


@pytest.mark.parametrize(("groups", "parts"), [(4, DIM), (2, 2 * DIM)])
def test_all_query_heads_of_a_node_are_its_components(groups, parts):
    model, (x, _) = Attention(4, groups).double(), data()
    group = heads_of(model, x)
    assert group.components("activation") == parts


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).flatten(1))


def test_positions_of_a_flattened_map_are_samples_not_components(capture_of, summary):
    model = Flattened().double()
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    group = infer(model, x[:2])["conv:channels"]
    assert group.components("activation") == 1
    got = capture_of(model, [(x, torch.arange(5) % 3)], (GradientMoments(), Moments()))
    assert summary(got, "conv:channels", GradientMoments()).count == 5 * 16


class Chain(nn.Module):
    def __init__(self, pooled):
        super().__init__()
        torch.manual_seed(0)
        self.pooled = pooled
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def hidden(self, x):
        first = torch.tanh(self.a(x))
        return first, F.relu(self.b(first.mean(1) if self.pooled else first))

    def forward(self, x):
        out = self.c(self.hidden(x)[1])
        return out if self.pooled else out.mean(1)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_pair_is_read_by_position_or_else_by_row(pooled, capture_of, summary):
    model = Chain(pooled).double()
    x = torch.randn(9, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = capture_of(model, [(x[:5],), (x[5:],)], (CrossGram(),))
    found = summary(got, "a:neurons (pair)", CrossGram())
    first, second = (each.detach() for each in model.hidden(x))
    if pooled:
        first = first.mean(1)
    left, right = first.reshape(-1, 6), second.reshape(-1, 5)
    expected = torch.cov(torch.cat([left, right], 1).T, correction=0)[:6, 6:]
    assert torch.allclose(found.covariance, expected, rtol=1e-9, atol=1e-14)
    assert found.count == len(left)
