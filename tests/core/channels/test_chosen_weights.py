"""Parameters of which the input chooses entries: experts, tables, routes. None is silent."""

from __future__ import annotations

import pytest
import torch
from tests.core.channels.architectures import SUITE, build
from torch import nn
from torch.nn import functional as F

from nodelens.channels.groups import Rows
from nodelens.channels.infer import infer


class Stacked(nn.Module):
    """Two experts of four for each sample, their weights picked by index."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.w1 = nn.Parameter(torch.randn(4, 10, 8))
        self.w2 = nn.Parameter(torch.randn(4, 8, 6))
        self.gate, self.out = nn.Linear(10, 4), nn.Linear(6, 2)

    def forward(self, x):
        p, i = self.gate(x).topk(2, -1)
        h = torch.einsum("bd,bkdh->bkh", x, self.w1[i]).relu()
        return self.out(torch.einsum("bkh,bkho,bk->bo", h, self.w2[i], p))


def roles(group):
    return [(part.parameter, part.axis, part.role) for part in group.slices]


def test_weights_picked_by_index_read_and_write():
    graph = infer(Stacked(), torch.zeros(3, 10))
    hidden, answer = (group for group in graph if group.prunable)
    assert (hidden.name, hidden.width) == ("model:neurons", 8)
    assert roles(hidden) == [("w1", 2, "producer"), ("w2", 1, "consumer")]
    assert roles(answer) == [("w2", 2, "producer"), ("out.weight", 1, "consumer")]


def test_what_is_picked_from_is_frozen_with_the_reason():
    graph = infer(Stacked(), torch.zeros(3, 10))
    experts = {part.parameter: g.frozen for g in graph for part in g.slices if part.axis == 0}
    assert experts["w1"] == experts["w2"] == "picked by index in the model"
    inputs = graph["model:inputs"]
    assert (inputs.width, inputs.frozen, inputs.sites) == (10, "model input", ())
    assert roles(inputs) == [("w1", 1, "consumer"), ("gate.weight", 1, "consumer")]


@pytest.mark.parametrize(
    "pick",
    [
        lambda w, i: w[i],
        lambda w, i: w.index_select(0, i),
        lambda w, i: w.flatten(1).gather(0, i[:, None].expand(-1, 80)).view(-1, 10, 8),
        lambda w, i: (w * 2)[i].transpose(1, 2).contiguous().transpose(1, 2),
    ],
)
def test_every_way_to_pick(pick):
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.b = nn.Parameter(torch.randn(4, 10, 8)), nn.Linear(8, 2)

        def forward(self, x):
            chosen = pick(self.w, x[:, :4].argmax(-1))
            return self.b(torch.bmm(x[:, None], chosen)[:, 0].relu())

    (group,) = (group for group in infer(Picks(), torch.zeros(3, 10)) if group.prunable)
    assert roles(group) == [("w", 2, "producer"), ("b.weight", 1, "consumer")]


def test_a_table_looked_up_is_what_writes():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(11, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, tokens):
            return self.head(F.gelu(self.table[tokens]))

    graph = infer(Table(), torch.zeros(3, 5, dtype=torch.long))
    group = graph["model:neurons"]
    assert roles(group) == [("table", 1, "producer"), ("head.weight", 1, "consumer")]
    assert group.at("activation")[0].rows == Rows()
    assert graph["model:fixed"].frozen == "picked by index in the model"


def test_two_picked_weights_multiplied_are_frozen():
    class Both(Stacked):
        def forward(self, x):
            i = self.gate(x).argmax(-1)
            return self.out((x[:, None] @ torch.bmm(self.w1[i], self.w2[i]))[:, 0])

    frozen = {
        part.parameter: g.frozen for g in infer(Both(), torch.zeros(3, 10)) for part in g.slices
    }
    assert "product of activations" in str(frozen["w1"]) or "picked" in str(frozen["w1"])


def kernel(model, name, axis):
    weight = dict(model.named_parameters())[name]
    return weight.ndim > 2 and axis > 1 and "weight" in name


@pytest.mark.parametrize("name", SUITE)
def test_no_axis_of_a_used_parameter_is_silent(name):
    model, inputs = build(name)
    graph = infer(model, *inputs)
    shown = {(part.parameter, part.axis) for group in graph for part in group.slices}
    silent = {
        (parameter, axis)
        for parameter, tensor in model.named_parameters()
        for axis, size in enumerate(tensor.shape)
        if size > 1 and (parameter, axis) not in shown and parameter not in graph.unused
    }
    assert all(kernel(model, *each) for each in silent)


def test_frozen_axes_come_last_and_have_no_sites():
    model, inputs = build("lstm")
    graph = infer(model, *inputs)
    assert [group.name for group in graph][-1] == "embed:vocabulary"
    assert not graph["embed:vocabulary"].sites
