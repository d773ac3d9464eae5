"""Weights that a module multiplies itself: where their nodes are seen, and where samples are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.groups import Extent, Rows, Site
from nodelens.channels.infer import infer
from nodelens.errors import ModelError


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 6)
        self.w = nn.Parameter(torch.randn(6, 5))
        self.c = nn.Linear(5, 2)

    def forward(self, x):
        return self.c(F.relu(F.relu(self.a(x)) @ self.w))


def test_the_operand_of_a_raw_weight_is_a_site():
    group = infer(Raw(), torch.zeros(3, 7, 4))["a:neurons"]
    assert group.prunable
    (site,) = group.at("activation")
    assert site == Site(
        "", "operand", "activation", 1, Extent(6), argument="w", value=site.value, along=0
    )
    assert site.name == "(model) (times w)"
    assert site.rows == Rows()


@pytest.mark.parametrize(("batch_first", "rows"), [(True, Rows(0, last=True)), (False, Rows(0))])
def test_attention_has_positions_before_samples_unless_samples_come_first(batch_first, rows):
    """Torch's attention multiplies ``(positions × batch, width)`` with its last weight."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 12)
            self.attention = nn.MultiheadAttention(12, 3, batch_first=batch_first)
            self.c = nn.Linear(12, 2)

        def forward(self, x):
            x = self.a(x)
            return self.c(x + self.attention(x, x, x, need_weights=False)[0])

    group = infer(Attends(), torch.zeros(2, 7, 4))["attention:heads"]
    (site,) = group.at("activation")
    assert (site.module, site.end, site.argument) == (
        "attention",
        "operand",
        "attention.out_proj.weight",
    )
    assert (site.axis, site.extent, site.along) == (1, Extent(3, inner=4), 1)
    assert site.rows == rows
    assert "torch's own attention" in group.frozen


def test_every_step_of_a_recurrent_layer_is_one_site():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(4, 5, batch_first=True)
            self.c = nn.Linear(5, 2)

        def forward(self, x):
            return self.c(self.rnn(x)[0])

    group = infer(Recurrent(), torch.zeros(2, 7, 4))["rnn:residual"]
    assert group.prunable
    assert [(site.name, site.rows) for site in group.at("activation")] == [
        ("rnn (times rnn.weight_hh_l0)", Rows()),
        ("c (input)", Rows()),
    ]


def test_tied_square_weights_are_told_apart_by_the_axis_that_is_summed():
    class Tied(Raw):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(6, 6))
            self.c = nn.Linear(6, 2)

        def forward(self, x):
            return self.c((F.relu(self.a(x) @ self.w) @ self.w.t()).tanh())

    graph = infer(Tied(), torch.zeros(3, 4))
    found = {
        group.name: [site.along for site in group.sites if site.end == "operand"]
        for group in graph
        if group.prunable
    }
    assert sorted(found.values()) == [[0], [1]]


def test_what_is_sent_to_experts_cannot_be_read_and_is_not_listed():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.randn(2, 4, 6))
            self.down = nn.Parameter(torch.randn(2, 6, 3))

        def forward(self, x):
            out = x.new_zeros(len(x), 3)
            for expert in range(2):
                rows = torch.where(x[:, 0] * (-1) ** expert > 0)[0]
                hidden = F.relu(x[rows] @ self.up[expert])
                out.index_add_(0, rows, hidden @ self.down[expert])
            return out

    torch.manual_seed(0)
    group = next(group for group in infer(Routed(), torch.randn(16, 4)) if group.prunable)
    (site,) = (site for site in group.sites if site.point == "activation")
    assert (site.end, site.argument, site.rows) == ("operand", "down", None)
    assert group.at("activation") == ()
    with pytest.raises(ModelError, match="its rows are not samples, they can only be masked"):
        site.nodes(torch.zeros(5, 6), 5)


def test_what_parameters_are_computed_into_still_shows():
    class Scaled(Raw):
        def forward(self, x):
            weight = self.w / self.w.norm(dim=1, keepdim=True)
            return self.c(self.a(x) @ weight)

    group = infer(Scaled(), torch.zeros(3, 4))["a:neurons"]
    assert [site.name for site in group.at("activation")] == ["(model) (times w)"]


def test_a_weight_mixed_from_parameters_shows_no_operand():
    class Mixed(Raw):
        def __init__(self):
            super().__init__()
            self.m = nn.Parameter(torch.randn(6, 6))

        def forward(self, x):
            return self.c(self.a(x) @ torch.linalg.solve_triangular(self.m, self.w, upper=True))

    graph = infer(Mixed(), torch.zeros(3, 4))
    assert not graph["a:neurons"].prunable
    assert not graph["a:neurons"].sites or graph["a:neurons"].frozen


@pytest.mark.parametrize(
    ("shape", "rows", "axis"),
    [
        ((6, 5), Rows(), 1),  # samples × positions
        ((6, 5), Rows(0, last=True), 1),  # positions × samples
        ((3, 2, 5), Rows(1), 2),
        ((5, 2, 3), Rows(1), 0),
        ((2, 5, 3), Rows(), 1),
    ],
)
def test_nodes_of_a_site_come_sample_by_sample(shape, rows, axis):
    tensor = torch.randn(shape)
    site = Site("m", "operand", "activation", axis, Extent(5), rows=rows)
    if shape == (6, 5):
        parts = (3, 2) if rows.last else (2, 3)
        expected = tensor.view(*parts, 5).movedim(int(rows.last), 0)
    else:
        expected = tensor.movedim((rows.axis, axis), (0, -1))
    assert torch.equal(site.nodes(tensor, 2), expected)


def test_rows_that_do_not_fit_are_an_error():
    with pytest.raises(ModelError, match=r"axis 0 of \(7, 5\) is not 2 samples"):
        Rows().first(torch.zeros(7, 5), 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_scripted_and_mapped_modules_are_traced():
    class Mapped(Raw):
        def forward(self, x):
            return torch.vmap(lambda row: self.c(F.relu(self.a(row) @ self.w)))(x)

    assert [g.width for g in infer(Mapped(), torch.zeros(3, 4)) if g.prunable] == [6, 5]
    scripted = nn.Sequential(torch.jit.script(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2))
    graph = infer(scripted, torch.zeros(3, 4))
    assert graph.traced
    assert next((group.width, group.prunable) for group in graph) == (6, True)
