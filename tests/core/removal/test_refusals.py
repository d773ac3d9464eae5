"""What a refusal says: the line of the model's code, the split, and names that are taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.errors import ModelError
from nodelens.graph import infer

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


class Literal(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).view(-1, 8))


class Sliced(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        h = F.relu(self.a(x))
        return self.b(h[:, :4]) + self.c(h[:, 4:])


class Halved(Sliced):
    def forward(self, x):
        left, right = F.relu(self.a(x)).chunk(2, 1)
        return self.b(left) + self.c(right)


class FixedState(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.o = nn.GRUCell(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.o(self.cell(x, x.new_zeros(len(x), 5)))


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, *, keep=None, means=None, seed=None):
        return self.b(F.relu(self.a(x)))


class Stacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.a(x).unflatten(-1, (-1, 4))
        return self.b(F.relu(h * torch.tensor([1.0, 2.0, 3.0, 4.0])).flatten(1))


def _refusal(model, name, keep):
    with pytest.raises(ModelError) as caught:
        infer(model, X).remove(model, {name: keep}, X)
    return str(caught.value)


def test_the_line_with_a_number_is_quoted():
    told = _refusal(Literal().eval(), "a:neurons", [0, 1, 2])
    line = Literal.forward.__code__.co_firstlineno + 1
    code = "return self.b(F.relu(self.a(x)).view(-1, 8))"
    assert f"(test_refusals.py, line {line}: {code}; " in told
    assert "; a size there or before it is a number in the code, or follows other nodes; " in told
    assert told.endswith("; the model is as before")


def test_the_cut_is_told():
    told = _refusal(Sliced().eval(), "a:neurons", [0, 1])
    assert "; a:neurons is split at index 4 of 8 by slice in the model, from a:neurons:2: " in told


class Parted(nn.Module):
    """A layer in four parts, each read by the next one too, as in C2f."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(6, 5)

    def forward(self, x):
        parts = [F.relu(part) for part in self.a(x).chunk(4, 1)]
        return self.b(torch.cat(parts, 1)) + self.c(x)[:, :3]


def test_parts_that_only_go_together_are_offered_as_one():
    model = Parted().eval()
    graph = infer(model, X)
    (names,) = graph.joint_groups
    assert names == ("a:neurons", "a:neurons:2", "a:neurons:3", "a:neurons:4")
    removal = graph.remove(model, {name: [1] for name in names}, X)
    assert {each.status for each in removal.verdicts} == {"exact"}
    assert model.b.in_features == 4
    assert infer(Literal().eval(), X).joint_groups == ()


def test_halves_are_removed_in_one_call_where_one_alone_is_refused():
    model = Halved().eval()
    told = _refusal(model, "a:neurons", [0, 1])
    assert "from a:neurons:2: remove as many there in the same call; " in told
    keep = {"a:neurons": [0, 1], "a:neurons:2": [1, 3]}
    removal = infer(model, X).remove(model, keep, X)
    assert [each.status for each in removal.verdicts] == ["exact", "exact"]
    assert model.b.in_features == 2


def test_gates_of_a_recurrent_cell_are_no_cut():
    told = _refusal(FixedState().eval(), "cell:residual", [0, 1])
    assert "hidden0 has inconsistent hidden_size" in told
    assert "x.new_zeros(len(x), 5)" in told
    assert "is split at" not in told


@pytest.mark.parametrize("name", ["keep", "means", "seed"])
def test_inputs_that_are_called_like_arguments_are_named(name):
    model = Named().eval()
    match = f"{name} must be .*, got Tensor; if {name} is an input of the model, give it by"
    with pytest.raises(ModelError, match=match):
        infer(model, X).verify(model, X, **{name: X})


def test_names_that_move_to_other_groups_are_told():
    model = Stacked().eval()
    graph = infer(model, X)
    factors = [each.name for each in graph if each.name.startswith("a:neurons")]
    assert factors == ["a:neurons", "a:neurons:2"]
    removal = graph.remove(model, {"a:neurons": [1]}, X)
    assert removal.notes == (
        "one node is left of a:neurons: inferred again, that is no group; "
        "a:neurons:2 is called a:neurons",
    )
    assert infer(model, X)["a:neurons"].width == graph["a:neurons:2"].width
