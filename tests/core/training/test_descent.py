"""What the training loops share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nodelens.errors import ModelError
from nodelens.interfaces.dataset import Samples
from nodelens.training.descent import BatchLoss, Descent, shuffled
from nodelens.training.optimizers import learning_rate


def descent(max_grad_norm=None, scale=1.0):
    """Return a descent of the mean of w·x, whose gradient is the mean of x."""
    weight = nn.Parameter(torch.zeros(2))
    samples = Samples(torch.tensor([[3.0, 0.0], [3.0, 8.0]]), torch.zeros(2, dtype=torch.int64))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    found = Descent(
        samples=samples,
        objective=lambda batch: BatchLoss(scale * (batch.args[0] @ weight).mean()),
        optimizer=optimizer,
        device=torch.device("cpu"),
        advice="do something else",
        max_grad_norm=max_grad_norm,
    )
    return found, weight


def test_a_step_goes_down_the_gradient_by_the_rate():
    found, weight = descent()
    assert found.step(torch.tensor([0, 1]), 0.5, "here") == {"loss": 0.0}
    assert weight.tolist() == [-1.5, -2.0]
    assert weight.grad is None


@pytest.mark.parametrize(("largest", "length"), [(5.0, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_a_gradient_is_cut_to_the_max_grad_norm(largest, length):
    found, weight = descent(largest)
    found.step(torch.tensor([0, 1]), 1.0, "here")
    assert float(weight.detach().norm()) == pytest.approx(length, rel=1e-4)
    direction = -weight.detach() / weight.detach().norm()
    assert direction.tolist() == pytest.approx([0.6, 0.8], rel=1e-4)


def test_what_is_not_finite_says_where_and_what_to_do():
    found, weight = descent()
    with torch.no_grad():
        weight.fill_(math.inf)
    with pytest.raises(ModelError, match="the loss here is nan: training diverged; do something"):
        found.step(torch.tensor([0, 1]), 1.0, "here")


def test_a_gradient_that_is_not_finite_changes_nothing():
    found, weight = descent(1.0)

    def blow(gradient):
        return gradient * math.inf

    weight.register_hook(blow)
    with pytest.raises(ModelError, match="the norm of the gradient here is"):
        found.step(torch.tensor([0, 1]), 1.0, "here")
    assert weight.tolist() == [0.0, 0.0]


def test_shuffled_parts_hold_every_number_once():
    random = torch.Generator().manual_seed(0)
    parts = shuffled(10, 4, random)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
    assert [len(part) for part in shuffled(9, 4, random)] == [4, 5]
    assert [len(part) for part in shuffled(1, 4, random)] == [1]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rate_rises_over_the_warmup_to_the_full_rate(schedule):
    rates = [learning_rate(8.0, schedule, step, 10, 3) for step in range(10)]
    assert rates[:4] == pytest.approx([2.0, 4.0, 6.0, 8.0])
    rest = [8.0] * 7
    if schedule == "cosine":
        rest = [4.0 * (1 + math.cos(math.pi * step / 7)) for step in range(7)]
    assert rates[3:] == pytest.approx(rest)
