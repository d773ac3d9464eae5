"""Verdicts on every prunable group, with the model left as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.removal.verify import random_keep, verify


class Three(nn.Module):
    """One exact group, one normalised, one whose width is written into the code."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Linear(7, 9), nn.LayerNorm(9)
        self.b, self.c, self.d = nn.Linear(9, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.b(self.norm(self.a(x))))
        return self.d(self.c(x).reshape(-1, 8))


X = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def test_every_prunable_group_has_its_verdict():
    model = Three()
    verdicts = verify(model, infer(model, X), X)
    assert [(v.group, v.width, v.removed, v.status) for v in verdicts] == [
        ("a:neurons", 9, 4, "shifted"),
        ("b:neurons", 6, 3, "exact"),
        ("c:neurons", 8, 4, "refused"),
    ]
    assert str(verdicts[1]) == "b:neurons: 3 of 6 nodes: exact"
    assert "(normalised)" in str(verdicts[0])
    assert str(verdicts[2]).startswith(
        "c:neurons: 4 of 8 nodes: refused because nodes of c:neurons"
    )
    assert verdicts[1].difference < 1e-12 < verdicts[0].difference


def test_the_model_stays_as_it_is():
    model = Three()
    before, named = copy.deepcopy(model.state_dict()), dict(model.named_parameters())
    sizes = repr(model)
    verify(model, infer(model, X), X)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter is named[name] for name, parameter in model.named_parameters())
    assert repr(model) == sizes
    assert model.training


def test_the_seed_chooses_the_nodes():
    group = infer(Three(), X)["a:neurons"]
    assert random_keep(group, 0.5, 0) == random_keep(group, 0.5, 0)
    assert random_keep(group, 0.5, 0) != random_keep(group, 0.5, 1)
    assert len(random_keep(group, 0.01, 0)) == 8
    assert len(random_keep(group, 0.99, 0)) == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 7])
def test_a_share_that_is_none_is_refused(fraction):
    model = Three()
    with pytest.raises(ModelError, match="fraction is that of the nodes removed"):
        verify(model, infer(model, X), X, fraction=fraction)


def test_a_model_that_does_not_run_on_the_example_says_so():
    model = Three()
    verdicts = verify(model, infer(model, X), torch.zeros(5, 6))
    assert all("the model does not run on the example inputs" in v.reason for v in verdicts)
