"""On random small networks, a model with nodes removed computes what the masked model computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.masks import mask
from nodelens.removal.removal import remove
from nodelens.removal.verify import random_keep

STEPS = ("conv", "depthwise", "grouped", "bn", "relu", "sigmoid", "add", "mul", "cat", "se", "gn")


class Random(nn.Module):
    """A random graph of steps: each reads the newest maps, some join an older one of that width."""

    def __init__(self, steps, widths, ends_flat):
        super().__init__()
        self.steps, self.ends_flat = steps, ends_flat
        self.stem = nn.Conv2d(2, widths[0], 1)
        self.layers = nn.ModuleList()
        self.older = []
        sizes = [widths[0]]
        for number, step in enumerate(steps):
            layer, size = self._layer(step, sizes[-1], widths[number + 1], sizes)
            self.layers.append(layer)
            self.older.append(sizes.index(size) if size in sizes else None)
            sizes.append(size)
        self.hidden = nn.Linear(sizes[-1] * (9 if ends_flat else 1), 6)
        self.head = nn.Linear(6, 3)

    def _layer(self, step, size, width, sizes):
        if step == "conv":
            return nn.Conv2d(size, width, 3, padding=1), width
        if step == "depthwise":
            return nn.Conv2d(size, size, 3, padding=1, groups=size), size
        if step == "grouped":
            return nn.Conv2d(size, width, 1, groups=2), width
        if step == "bn":
            return nn.BatchNorm2d(size), size
        if step == "gn":
            return nn.GroupNorm(2, size), size
        if step == "se":
            return nn.Sequential(nn.Conv2d(size, 3, 1), nn.ReLU(), nn.Conv2d(3, size, 1)), size
        return nn.Identity(), size + sizes[0] if step == "cat" else size

    def forward(self, x):
        maps = [self.stem(x)]
        for step, layer in zip(self.steps, self.layers, strict=True):
            older = self.older[len(maps) - 1]
            maps.append(self._step(step, layer, maps, older))
        x = maps[-1].flatten(1) if self.ends_flat else maps[-1].mean((2, 3))
        return self.head(torch.tanh(self.hidden(x)))

    def _step(self, step, layer, maps, older):
        x = layer(maps[-1])
        older = x if older is None else maps[older]
        if step == "relu":
            return F.relu(x)
        if step == "sigmoid":
            return torch.sigmoid(x)
        if step == "add":
            return x + older
        if step == "mul":
            return x * torch.sigmoid(older)
        if step == "cat":
            return torch.cat([maps[0], x], 1)
        if step == "se":
            return maps[-1] * torch.sigmoid(layer(maps[-1].mean((2, 3), keepdim=True)))
        return x


@st.composite
def networks(draw):
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
    widths = draw(st.lists(st.sampled_from([4, 6, 8]), min_size=7, max_size=7))
    torch.manual_seed(draw(st.integers(0, 1000)))
    return Random(steps, widths, draw(st.booleans())).double().eval()


X = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(networks(), st.integers(0, 10), st.sampled_from([0.2, 0.5, 0.9]))
def test_pruned_equals_masked(model, seed, share):
    graph = infer(model, X)
    assert not graph.unknown_operators
    groups = [group for group in graph if group.prunable and not group.normalised]
    keep = {group.name: random_keep(group, share, seed) for group in groups}
    with torch.no_grad(), mask(model, graph, keep):
        masked = model(X)
    result = remove(model, graph, keep, X)
    with torch.no_grad():
        assert (model(X) - masked).abs().max() < 1e-10
    assert {verdict.status for verdict in result.verdicts} <= {"exact"}
    assert result.rules == ()


@QUICK
@given(networks(), st.integers(0, 10))
def test_all_groups_at_once_run_and_are_equivalent(model, seed):
    graph = infer(model, X)
    keep = {group.name: random_keep(group, 0.5, seed) for group in graph if group.prunable}
    removal = remove(model, graph, keep, X)
    assert model(X).isfinite().all()
    for verdict in removal.verdicts:
        assert verdict.status == "exact" or graph[verdict.group].normalised


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_removal_can_be_repeated(share):
    torch.manual_seed(0)
    model = Random(("conv", "bn", "relu", "add", "cat"), [6] * 6, True).double().eval()
    for _ in range(2):
        graph = infer(model, X)
        keep = {g.name: random_keep(g, share, 0) for g in graph if g.prunable}
        before, after = remove(model, graph, keep, X).parameters
        assert after < before
    assert model(X).shape == (3, 3)
