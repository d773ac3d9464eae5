"""Costs against hand counts and against torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nodelens.channels.infer import infer
from nodelens.removal.cost import Cost, costs
from nodelens.removal.removal import remove


def of(model, x):
    return costs(model, infer(model, x), x)


def test_a_perceptron_by_hand():
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3))
    found = of(model, torch.zeros(5, 7))
    assert found.model == Cost(7 * 8 + 8 + 8 * 3 + 3, 5 * (7 * 8 + 8 * 3))
    assert found.nodes["0:neurons"] == Cost(7 + 1 + 3, 5 * (7 + 3))


def test_a_convolution_counts_its_positions_and_everything_that_follows_the_channel():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1), nn.Flatten()
    )
    found = of(model, torch.zeros(2, 3, 6, 6))
    assert found.model.macs == 2 * 36 * (27 * 8 + 8 * 4)
    assert found.nodes["0:channels"] == Cost(27 + 1 + 2 + 4, 2 * 36 * (27 + 4))


def test_flattened_channels_cost_a_block_of_columns():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(4 * 9, 5))
    node = of(model, torch.zeros(2, 1, 3, 3)).nodes["0:channels"]
    assert node == Cost(1 + 1 + 9 * 5, 2 * (9 + 9 * 5))


@pytest.mark.parametrize("transposed", [False, True])
def test_grouped_and_transposed_convolutions_agree_with_torch(transposed):
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = nn.Sequential(nn.Conv2d(3, 8, 1), layer(8, 12, 3, stride=2, groups=4))
    x = torch.zeros(2, 3, 9, 9)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert of(model, x).model.macs == counter.get_total_flops() // 2


def test_a_square_weight_that_reads_and_writes_one_group_is_counted_once():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = self.first(x)
            return self.head(x + F.relu(self.inner(x)))

    node = of(Loop(), torch.zeros(5, 4)).nodes["first:residual"]
    assert node == Cost(5 + (36 - 25) + 1 + 3, 5 * (4 + (36 - 25) + 3))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(7, 12, bias=False) for _ in range(3))
        self.out = nn.Linear(12, 5, bias=False)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_a_head_saves_its_scores_and_its_sums_too():
    model, x = Attention(), torch.zeros(2, 5, 7)
    graph = infer(model, x)
    name = next(group.name for group in graph if group.width == 4 and group.prunable)
    found = costs(model, graph, x)
    assert found.nodes[name].parameters == 3 * (3 * 7) + 3 * 5
    assert found.nodes[name].macs == 2 * (5 * (3 * 21 + 15) + 2 * 5 * 5 * 3)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Attention(), torch.randn(2, 5, 7)),
        (
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(54, 2)),
            torch.randn(2, 3, 5, 5),
        ),
    ],
    ids=["attention", "convolutions"],
)
def test_the_saving_is_what_a_removed_node_saves(model, x):
    graph = infer(model, x)
    before = costs(model, graph, x)
    group = next(group for group in graph if group.prunable)
    remove(model, graph, {group.name: list(range(1, group.width))}, x)
    after = of(model, x)
    saved = before.nodes[group.name]
    assert before.model.parameters - after.model.parameters == saved.parameters
    assert before.model.macs - after.model.macs == saved.macs


def test_a_model_that_cannot_be_traced_has_no_multiply_accumulates():
    from nodelens.channels.groups import ChannelGraph

    model = nn.Linear(3, 4)
    assert costs(model, ChannelGraph((), traced=False)).model == Cost(16, None)


def test_weights_on_the_meta_device_are_enough():
    model = nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 3)).to("meta")
    assert of(model, torch.empty(5, 7, device="meta")).model.macs == 5 * 80
