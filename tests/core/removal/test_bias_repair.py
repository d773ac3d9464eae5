"""Means of removed nodes in the biases of their readers, against masks that put means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask
from nodelens.removal.bias_repair import BiasShift
from nodelens.removal.removal import remove
from nodelens.removal.verify import verify

ROWS = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def halves(graph):
    return {g.name: list(range(0, g.width, 2)) for g in graph if g.prunable}


def means_of(graph):
    draw = torch.Generator().manual_seed(2)
    return {g.name: torch.randn(g.width, generator=draw) for g in graph if g.prunable}


class Fused(nn.Module):
    """A reader of two groups."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 4), nn.Linear(7, 6), nn.Linear(10, 3)

    def forward(self, x):
        return self.c(torch.cat([self.a(x).tanh(), self.b(x).relu()], -1))


class Transposed(nn.Module):
    """As in transformers: a linear layer whose weight is ``(inputs, outputs)``."""

    def __init__(self, nx, nf):
        super().__init__()
        self.nx, self.nf = nx, nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


EXACT = {
    "linear": (lambda: nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3)), ROWS),
    "linear without a bias": (
        lambda: nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3, bias=False)),
        ROWS,
    ),
    "a chain": (
        lambda: nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 6, bias=False), nn.Linear(6, 3)),
        ROWS,
    ),
    "two groups of one reader": (Fused, ROWS),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False)),
        IMAGE,
    ),
    "batch norm before": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)),
        IMAGE,
    ),
    "replicated padding": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, padding=1, padding_mode="replicate")
        ),
        IMAGE,
    ),
    "grouped convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, groups=2), nn.Conv2d(4, 2, 1)),
        IMAGE,
    ),
    "flatten": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 3)),
        IMAGE,
    ),
    "weight norm": (
        lambda: nn.Sequential(
            nn.Linear(7, 8),
            nn.ReLU(),
            nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)),
        ),
        ROWS,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_smaller_model_computes_what_masks_by_means_compute(name):
    build, x = EXACT[name]
    model = build().double().eval()
    graph = infer(model, x)
    keep, means = halves(graph), means_of(graph)
    if name == "grouped convolution":
        keep = {group: kept for group, kept in keep.items() if group.startswith("1")}
    with torch.no_grad(), mask(model, graph, keep, "mean", means):
        masked = model(x)
    result = remove(model, graph, keep, x, means=means)
    with torch.no_grad():
        assert torch.allclose(model(x), masked, rtol=1e-10, atol=1e-10)
    assert {verdict.status for verdict in result.verdicts} == {"exact"}


def test_a_bias_that_was_not_there_is_new_and_trained():
    model = EXACT["linear without a bias"][0]().double()
    graph = infer(model, ROWS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    result = remove(model, graph, halves(graph), ROWS, means=means_of(graph), optimizer=optimizer)
    assert isinstance(model[2].bias, nn.Parameter)
    assert result.notes == ("new biases, in no optimizer yet, hold the means: 2.bias",)
    assert "2.bias" in model.state_dict()


def test_zero_padding_shifts_the_border_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).double()
    graph = infer(model, IMAGE)
    keep, means = halves(graph), means_of(graph)
    with torch.no_grad(), mask(model, graph, keep, "mean", means):
        masked = model(IMAGE)
    (verdict,) = remove(model, graph, keep, IMAGE, means=means).verdicts
    assert (verdict.status, verdict.reason) == ("shifted", "means at padded borders")
    with torch.no_grad():
        apart = (model(IMAGE) - masked).abs()
    assert apart[..., 1:-1, 1:-1].max() < 1e-10
    assert apart.max() > 1e-3


def test_normalised_groups_are_proved_with_means_too():
    model = nn.Sequential(nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 3)).double()
    graph = infer(model, ROWS)
    keep, means = halves(graph), means_of(graph)
    before = model[2].bias.detach().clone()
    added = model[2].weight[:, 1::2] @ means["0:neurons"][1::2].double()
    (verdict,) = remove(model, graph, keep, ROWS, means=means).verdicts
    assert verdict.reason == "normalised"
    assert torch.allclose(model[2].bias, before + added)


def test_a_wrong_bias_is_noticed(monkeypatch):
    model = EXACT["linear"][0]().double()
    graph, perform = infer(model, ROWS), BiasShift.perform
    monkeypatch.setattr(BiasShift, "perform", lambda *given: perform(*given[:2], given[2] + 1.0))
    with pytest.raises(ModelError, match="it returns something else than in the masked model"):
        remove(model, graph, halves(graph), ROWS, means=means_of(graph))


def test_a_refusal_leaves_no_bias_behind():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 3, bias=False)

        def forward(self, x):
            return self.b(self.a(x).view(-1, 8))

    model = Fixed().double()
    graph = infer(model, ROWS)
    with pytest.raises(ModelError, match="as before"):
        remove(model, graph, halves(graph), ROWS, means=means_of(graph))
    assert model.b.bias is None
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.weight"]


def test_readers_without_a_constant_are_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 3)).double()
    graph = infer(model, IMAGE)
    with pytest.raises(
        ModelError,
        match=r"the means of 0:channels cannot go into a bias: 1 \(input\) is a ConvTranspose2d",
    ):
        remove(model, graph, halves(graph), IMAGE, means=means_of(graph))


def test_missing_means_are_named():
    model = EXACT["linear"][0]().double()
    with pytest.raises(ModelError, match="0:neurons: its nodes have no means to put into biases"):
        remove(model, infer(model, ROWS), {"0:neurons": [0]}, ROWS, means={})


def test_verify_takes_means_and_the_nodes_that_stay():
    model = EXACT["linear"][0]().double()
    graph = infer(model, ROWS)
    (verdict,) = verify(model, graph, ROWS, keep={"0:neurons": [0]}, means=means_of(graph))
    assert (verdict.status, verdict.removed) == ("exact", 7)
    assert model[0].out_features == 8


def test_transposed_linear_layers_take_means_in():
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), Transposed(8, 3)).double()
    graph = infer(model, ROWS)
    keep, means = halves(graph), means_of(graph)
    sites = [site.end for group in graph if group.prunable for site in group.at("activation")]
    if "input" not in sites:
        pytest.fail(f"no module's input shows the nodes: {sites}")
    with torch.no_grad(), mask(model, graph, keep, "mean", means):
        masked = model(ROWS)
    remove(model, graph, keep, ROWS, means=means)
    assert torch.allclose(model(ROWS), masked)
