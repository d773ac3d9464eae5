"""What the equivalence check compares beyond the example: training, batch sizes, values."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.removal.removal import remove
from nodelens.removal.verify import verify

X = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
HALF = {"a:neurons": [0, 1, 2, 3]}


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(7, 8), nn.Linear(8, 3)

    def change(self, h):
        return h

    def forward(self, x):
        return self.b(self.change(F.relu(self.a(x))))


class CountsInTraining(Base):
    def change(self, h):
        return h / h.shape[-1] if self.training else h


class FixedInTraining(Base):
    def change(self, h):
        return h.view(-1, 8) if self.training else h


class MixesLargeBatches(Base):
    def change(self, h):
        return h.roll(1, -1) if len(h) > 2 else h


class CountsAtLargeValues(Base):
    def forward(self, x):
        h = F.relu(self.a(x))
        return self.b(h) * (1 + F.relu(x.abs().amax() - X.abs().amax()) * h.shape[-1])


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (CountsInTraining, "in training"),
        (FixedInTraining, "in training"),
        (MixesLargeBatches, "on a batch of 5 with other values"),
        (CountsAtLargeValues, "on a batch of 5 with other values"),
    ],
)
def test_nodes_that_are_mixed_off_the_example_are_refused(build, where):
    model = build().eval()
    with pytest.raises(ModelError, match=f"a:neurons cannot be removed: .*, {where} "):
        remove(model, infer(model, X), HALF, X)
    assert model.a.out_features == 8


class Reading(Base):
    """An integer that only the training branch reads is found there."""

    def __init__(self):
        super().__init__()
        self.width = 8

    def change(self, h):
        return h.view(-1, self.width) if self.training else h


def test_integers_that_training_reads_follow():
    model = Reading()
    remove(model, infer(model, X), HALF, X)
    assert model.width == 4


DRAWING = {
    "dropout": nn.Sequential(nn.Linear(7, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "alpha dropout": nn.Sequential(nn.Linear(7, 8), nn.AlphaDropout(0.2), nn.Linear(8, 3)),
    "random slopes": nn.Sequential(nn.Linear(7, 8), nn.RReLU(), nn.Linear(8, 3)),
    "batch norm": nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("name", DRAWING)
def test_draws_and_batch_statistics_are_compared_in_training(name):
    model = copy.deepcopy(DRAWING[name])
    before = copy.deepcopy(model.state_dict())
    (verdict,) = verify(model, infer(model, X), X)
    assert (verdict.status, verdict.limits) == ("exact", ())
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


class Noisy(Base):
    """Draws in evaluation too, from everywhere."""

    def forward(self, x):
        noise = torch.randn_like(x) + torch.empty_like(x).uniform_(-1, 1) + torch.rand(())
        return super().forward(x + noise)

    def change(self, h):
        return h * random.random() * np.random.rand()


def test_draws_in_evaluation_do_not_stand_in_the_way_and_are_not_used_up():
    model = Noisy()
    graph = infer(model, X)
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    (verdict,) = verify(model, graph, X)
    assert verdict.status == "exact"
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()


class OneBatch(Base):
    def forward(self, x):
        assert x.shape == (2, 7)
        assert torch.equal(x, X.to(x.dtype))
        return super().forward(x)


class NeverInTraining(Base):
    def change(self, h):
        if self.training:
            raise ValueError("train me not")
        return h


@pytest.mark.parametrize(
    ("build", "limit"),
    [
        (OneBatch, "compared on the example only"),
        (NeverInTraining, "not compared in training (ValueError: train me not)"),
    ],
)
def test_what_is_not_compared_is_said_in_the_verdict(build, limit):
    model = build()
    (verdict,) = verify(model, infer(model, X), X)
    assert verdict.status == "exact"
    assert verdict.limits == (limit,)
    assert str(verdict) == f"a:neurons: 4 of 8 nodes: exact; {limit}"


def test_training_that_needs_more_than_one_sample_gets_more():
    model = nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    (verdict,) = verify(model, infer(model, X[:1]), X[:1])
    assert (verdict.status, verdict.limits) == ("exact", ())


class Auxiliary(Base):
    """Reads the nodes once more in training."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(8, 2)

    def forward(self, x):
        h = F.relu(self.a(x))
        return (self.b(h), self.extra(h)) if self.training else self.b(h)


def test_readers_in_training_only_lose_the_nodes_too():
    model = Auxiliary()
    result = remove(model, infer(model, X), HALF, X)
    assert result.verdicts[0].status == "exact"
    assert model.extra.in_features == 4


class Standardised(nn.Conv2d):
    """A convolution that standardises its weight, as in BiT: over inputs, by a batch norm."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias)


def test_standardised_weights_are_shifted():
    model = nn.Sequential(Standardised(3, 8, 3), nn.ReLU(), Standardised(8, 4, 3))
    (verdict,) = verify(model, infer(model, IMAGE), IMAGE)
    assert verdict.status == "shifted"
    assert verdict.reason == "normalised"
    assert verdict.difference > 1e-3


def test_training_is_compared_on_the_larger_batch():
    model = CountsInTraining().eval()
    with torch.no_grad():  # the nodes that stay are dead on the example
        model.a.bias[:4] = -model.a(X).amax(0)[:4] - 1e-3
    with pytest.raises(ModelError, match="in training"):
        remove(model, infer(model, X), HALF, X)


class Normed(nn.Module):
    def __init__(self, first, norm, change=lambda h: h):
        super().__init__()
        self.a, self.norm, self.b, self.change = first, norm, nn.Linear(8, 3), change

    def forward(self, x):
        return self.b(self.norm(self.change(self.a(x))))


def without_bias():
    return nn.Linear(7, 8, bias=False)


DEGENERATE = {
    "tokens of padding": (nn.Embedding(9, 8, padding_idx=0), torch.zeros(2, 3, dtype=torch.int64)),
    "one token of padding": (
        nn.Embedding(9, 8, padding_idx=0),
        torch.zeros(1, 1, dtype=torch.int32),
    ),
    "zeros": (without_bias(), torch.zeros(1, 7)),
}


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8)], ids=["layer", "rms"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_normalised_groups_are_shifted_where_the_example_is_degenerate(name, norm):
    first, x = DEGENERATE[name]
    model = copy.deepcopy(Normed(first, norm)).eval()
    (verdict,) = remove(model, infer(model, x), HALF, x).verdicts
    assert verdict.status == "shifted"
    assert verdict.difference > 1e-3


def test_normalised_groups_are_never_exact_where_no_input_shows_the_shift():
    model = Normed(nn.Linear(7, 8), nn.LayerNorm(8), F.relu).eval()
    nn.init.constant_(model.a.bias, -100.0)
    (verdict,) = remove(model, infer(model, X), HALF, X).verdicts
    assert verdict.status == "shifted"
    assert verdict.finding == "shifted by 0 (normalised, not seen on these inputs)"
