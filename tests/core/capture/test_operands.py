"""Weights that a module multiplies with itself: what they read is captured at the product."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.moments import Moments, RowMoments


class Own(nn.Module):
    """Two layers in one module, without a module between them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(4, 6))
        self.v = nn.Parameter(torch.randn(6, 3))

    def hidden(self, x):
        return torch.tanh(x @ self.w)

    def forward(self, x):
        return self.hidden(x) @ self.v


def test_what_a_product_reads_is_read_with_its_gradient(capture_of, summary):
    model = nn.Sequential(Own()).double()
    x = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    y = torch.arange(9) % 3
    asked = (Moments(), RowMoments(), GradientMoments(), RowGradients())
    got = capture_of(model, [(x[:5], y[:5]), (x[5:], y[5:])], asked)
    (place,) = (name for name, states in got.states.items() if Moments() in states)
    assert "times" in next(iter(got.fired))
    a = model[0].hidden(x).detach().requires_grad_()
    loss = F.cross_entropy(a @ model[0].v, y, reduction="sum")
    (g,) = torch.autograd.grad(loss, a)
    q = a.detach() * g
    assert torch.allclose(summary(got, place, Moments()).mean, a.detach().mean(0), rtol=1e-12)
    assert torch.allclose(summary(got, place, GradientMoments()).q2, q.square().mean(0))
    rows = summary(got, place, RowGradients())
    assert rows.rows == 9
    assert torch.allclose(rows.q2, q.square().mean(0), rtol=1e-10)
