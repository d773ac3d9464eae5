import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.producer_inputs import features_of, outputs_of
from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.weight_gradients import WeightGradients

MODULES = {
    "linear": (nn.Linear(4, 3), (9, 4)),
    "linear on tokens": (nn.Linear(4, 3), (9, 5, 4)),
    "convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (9, 4, 5, 5)),
    "grouped convolution": (nn.Conv2d(4, 6, 3, groups=2, dilation=2), (9, 4, 7, 7)),
    "depthwise convolution": (nn.Conv1d(4, 4, 3, groups=4), (9, 4, 7)),
}


@pytest.mark.parametrize("name", MODULES)
def test_sums_are_those_of_the_gradients_that_autograd_gives_row_by_row(name):
    module, shape = MODULES[name]
    module = module.double()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(row):
        return F.softplus(module(row)).square().sum()

    rows = [torch.autograd.grad(loss(row.unsqueeze(0)), module.weight)[0] for row in x]
    expected = torch.stack(rows).flatten(2)

    y = module(x)
    (g,) = torch.autograd.grad(F.softplus(y).square().sum(), y)
    read, written = features_of(module, x).detach(), outputs_of(module, g)
    read, written = (value.reshape(9, -1, value.shape[-1]) for value in (read, written))
    blocks = getattr(module, "groups", 1)
    layout = Layout(read.shape[-1], 2, blocks=blocks, others=written.shape[-1])
    state = WeightGradients().start(layout)
    for part in torch.arange(9).split(4):
        reading = Reading(values=read[part], gradient=written[part], fold=part % 2)
        WeightGradients().update(state, reading)
    found = WeightGradients().summary(state, torch.tensor([True, True]))
    torch.testing.assert_close(found.mean, expected.mean(0))
    torch.testing.assert_close(found.mean_square, expected.square().mean(0))
    assert found.rows == 9


def test_half_precision_products_do_not_overflow():
    values = torch.full((2, 1, 1), 300.0, dtype=torch.float16)
    state = WeightGradients().start(Layout(1, 1, others=1))
    fold = torch.zeros(2, dtype=torch.int64)
    WeightGradients().update(state, Reading(values=values, gradient=values, fold=fold))
    found = WeightGradients().summary(state, torch.ones(1, dtype=torch.bool))
    assert found.mean_square.item() == pytest.approx(9e4**2, rel=1e-6)


def test_large_weights_are_worked_on_a_few_rows_at_a_time():
    random = torch.Generator().manual_seed(0)
    x, g = (torch.randn(5, 3, width, generator=random).double() for width in (500, 300))
    state = WeightGradients().start(Layout(500, 1, others=300))
    fold = torch.zeros(5, dtype=torch.int64)
    WeightGradients().update(state, Reading(values=x, gradient=g, fold=fold))
    found = WeightGradients().summary(state, torch.ones(1, dtype=torch.bool))
    expected = torch.einsum("npo,npf->nof", g, x)
    torch.testing.assert_close(found.mean, expected.mean(0))
    torch.testing.assert_close(found.mean_square, expected.square().mean(0))
