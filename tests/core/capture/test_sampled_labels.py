"""Gradients with labels of the model's own (true Fisher), against brute force."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.losses import sampled_labels
from nodelens.statistics.gradients import GradientMoments, RowGradients

SAMPLED = (GradientMoments(labels="model"), RowGradients(labels="model"))
BOTH = (*SAMPLED, GradientMoments(), RowGradients())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


def data(rows=11):
    x = torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return x, torch.arange(rows) % 3


def brute_force(model, x, labels):
    a = torch.tanh(model.a(x)).detach().requires_grad_()
    loss = F.cross_entropy(model.b(a), labels, reduction="sum")
    return a.detach() * torch.autograd.grad(loss, a)[0]


def test_both_gradients_come_from_one_forward(capture_of, summary):
    model, (x, y) = Net().double(), data()
    forwards = []
    model.register_forward_hook(lambda _, args, __: forwards.append(len(args[0])))
    got = capture_of(model, [(x[:6], y[:6]), (x[6:], y[6:])], BOTH, (x, y))
    assert [rows for rows in forwards if rows < 11] == [6, 5]
    drawn = sampled_labels(model(x), Batch((x,), targets=y)).targets
    for labels, statistics in ((y, BOTH[2:]), (drawn, BOTH[:2])):
        q = brute_force(model, x, labels)
        found = summary(got, "a:neurons", statistics[0])
        assert torch.allclose(found.q2, q.square().mean(0), rtol=1e-10)
        assert torch.allclose(found.q, q.mean(0), rtol=1e-10, atol=1e-14)
        rows = summary(got, "a:neurons", statistics[1])
        assert torch.allclose(rows.q2, q.square().mean(0), rtol=1e-10)
    assert not torch.equal(drawn, y)


@pytest.mark.parametrize("sizes", [[11], [1] * 11, [5, 6]])
def test_the_draw_belongs_to_the_row_not_to_the_batch(sizes, capture_of, check_same):
    model, (x, y) = Net().double(), data()
    expected = capture_of(model, [(x, y)], SAMPLED)
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    check_same(capture_of(model, parts, SAMPLED, (x, y)), expected)


def test_only_drawn_labels_run_one_backward(capture_of, summary):
    model, (x, y) = Net().double(), data()
    found = summary(capture_of(model, [(x, y)], SAMPLED), "a:neurons", SAMPLED[0])
    q = brute_force(model, x, sampled_labels(model(x), Batch((x,), targets=y)).targets)
    assert torch.allclose(found.q2, q.square().mean(0), rtol=1e-10)


def test_labels_are_drawn_from_the_predictions():
    logits = torch.tensor([2.0, 0.0, 1.0]).log().expand(30_000, 3)
    batch = Batch((logits,), targets=torch.zeros(30_000, dtype=torch.long))
    share = torch.bincount(sampled_labels(logits, batch).targets, minlength=3) / 30_000
    assert torch.allclose(share, torch.tensor([2 / 3, 0.0, 1 / 3]), atol=0.01)
    assert share[1] == 0


def test_the_draw_belongs_to_the_token_whatever_the_padding():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 5, generator=g)
    right, left = torch.zeros(1, 5, 5), torch.zeros(1, 5, 5)
    right[:, :3], left[:, 2:] = logits, logits
    targets = torch.zeros(1, 5, dtype=torch.long)
    masks = torch.tensor([[1, 1, 1, 0, 0]]).bool(), torch.tensor([[0, 0, 1, 1, 1]]).bool()
    one, other = (
        sampled_labels(padded, Batch((padded,), targets=targets, mask=mask), -1).targets[mask]
        for padded, mask in zip((right, left), masks, strict=True)
    )
    assert torch.equal(one, other)


def test_ignored_labels_stay_ignored():
    logits = torch.zeros(4, 3)
    targets = torch.tensor([0, -100, 2, -100])
    drawn = sampled_labels(logits, Batch((logits,), targets=targets)).targets
    assert (drawn == -100).tolist() == [False, True, False, True]
