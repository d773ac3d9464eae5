"""Closed forms for a linear readout ŷ = Σ v_i a_i, whose gradient is v times the residual r."""

import math

import pytest
import torch
from tests.metrics.networks import Perceptron, batches, made
from tests.metrics.networks import data as samples

import nodelens
from nodelens_metrics.curvature.fisher import (
    Curvature,
    EmpiricalFisher,
    LossProxy,
    SampleFisher,
    TrueFisher,
)
from nodelens_metrics.gradients.first_order import (
    AttributionPatching,
    FirstOrder,
    GradientNorm,
    Snip,
    Taylor,
    Taylor2016,
    TokenTaylor,
)
from nodelens_metrics.gradients.mean_ablation import MeanAblationFirstOrder, MeanAblationFisher

EVERY = [
    FirstOrder(),
    LossProxy(),
    LossProxy(factored=True),
    AttributionPatching(),
    Curvature(),
    EmpiricalFisher(),
    MeanAblationFirstOrder(),
    MeanAblationFisher(),
    MeanAblationFisher(per="row"),
    SampleFisher(),
    Snip(),
    Snip(normalise=True),
    TrueFisher(),
    Taylor(),
    Taylor2016(),
    TokenTaylor(),
    GradientNorm(),
]


@pytest.mark.parametrize("metric", EVERY, ids=str)
def test_at_a_perfect_fit_every_gradient_score_is_blind(score, data, metric):
    assert score(metric, data, gradient=0 * data).tolist() == [0.0] * 4


def test_loss_proxy_of_independent_residuals_factors(score):
    v, a, r = 1.7, torch.tensor([0.0, 1, 2, 5]), torch.tensor([-1.0, 0.5, 2])
    grid = torch.cartesian_prod(a, r).double()
    exact = 0.5 * v**2 * a.square().mean() * r.square().mean()
    for factored in (False, True):
        metric = LossProxy(factored=factored)
        found = score(metric, grid[:, :1], gradient=v * grid[:, 1:])
        assert found.item() == pytest.approx(exact.item(), rel=1e-6)


def test_first_order_is_exact_for_a_linear_loss(score, data):
    g = torch.tensor([1.0, -2.0, 0.5, 3.0]).expand(data.shape)
    total = (g * data).sum((1, 2))
    found = score(FirstOrder(), data, gradient=g)
    for node in range(4):
        without = data.clone()
        without[..., node] = 0.0
        change = ((g * without).sum((1, 2)) - total).mean()
        torch.testing.assert_close(found[node], change)


@pytest.fixture
def gradient(data):
    return torch.randn(data.shape, generator=torch.Generator().manual_seed(8)).double()


def test_scores_are_those_of_the_stored_arrays(score, data, gradient):
    q = data * gradient
    rows = q.sum(1)
    centred = data - data.mean((0, 1))
    expected = {
        Taylor(): rows.square().mean(0),
        SampleFisher(): 0.5 * rows.square().mean(0),
        Taylor2016(normalise=False): q.mean(1).abs().mean(0),
        TokenTaylor(): q.abs().mean((0, 1)),
        FirstOrder(): -rows.mean(0),
        LossProxy(): 0.5 * q.square().mean((0, 1)),
        EmpiricalFisher(): rows.square().mean(0),
        EmpiricalFisher(per="position"): q.square().mean((0, 1)),
        AttributionPatching(): rows.abs().mean(0),
        Snip(): rows.mean(0).abs(),
        Snip(normalise=True): rows.mean(0).abs() / rows.mean(0).abs().sum(),
        Curvature(): gradient.square().mean((0, 1)),
        MeanAblationFirstOrder(): -(centred * gradient).sum(1).mean(0),
        MeanAblationFisher(): 0.5 * (centred * gradient).square().mean((0, 1)),
        MeanAblationFisher(per="row"): 0.5 * (centred * gradient).sum(1).square().mean(0),
        GradientNorm(): gradient.square().mean((0, 1)).sqrt(),
    }
    for metric, value in expected.items():
        torch.testing.assert_close(score(metric, data, gradient=gradient), value)


def test_rows_and_positions_differ_by_the_cross_terms(score):
    """Two positions of one row that cancel: nothing by row, a lot by position."""
    a, g = torch.ones(3, 2, 1), torch.tensor([[[1.0], [-1.0]]] * 3)
    assert score(SampleFisher(), a, gradient=g).item() == 0.0
    assert score(LossProxy(), a, gradient=g).item() == 0.5


def test_taylor_2016_has_unit_norm_over_the_layer(score, data, gradient):
    found = score(Taylor2016(), data, gradient=gradient)
    raw = score(Taylor2016(normalise=False), data, gradient=gradient)
    assert found.norm().item() == pytest.approx(1.0)
    torch.testing.assert_close(found * raw.norm(), raw)


def test_taylor_does_not_depend_on_the_number_of_rows(score, data, gradient):
    once = score(Taylor(), data, gradient=gradient)
    twice = score(Taylor(), torch.cat([data] * 2), gradient=torch.cat([gradient] * 2))
    torch.testing.assert_close(twice, once)


@pytest.mark.parametrize(
    "metric",
    [MeanAblationFirstOrder(), MeanAblationFisher(), MeanAblationFisher(per="row")],
    ids=str,
)
def test_replacing_a_constant_node_by_its_mean_costs_nothing(score, metric):
    g = torch.randn(9, 1, generator=torch.Generator().manual_seed(9)).double()
    found = score(metric, torch.full((9, 1), 0.1).double(), gradient=g)
    assert found.item() == pytest.approx(0.0, abs=1e-16)


def test_the_mean_ablation_of_a_linear_loss_is_exact_to_first_order(score, data, gradient):
    """With the loss Σ g·a, replacing by the mean changes it by exactly −Σ (a − μ)g."""
    change = ((data.mean((0, 1)) - data) * gradient).sum(1).mean(0)
    torch.testing.assert_close(score(MeanAblationFirstOrder(), data, gradient=gradient), change)


def test_the_mean_of_a_large_activation_is_not_lost_to_rounding(score, data, gradient):
    for metric in (MeanAblationFirstOrder(), MeanAblationFisher(per="row")):
        plain = score(metric, data, gradient=gradient)
        shifted = score(metric, data + 1e6, gradient=gradient)
        torch.testing.assert_close(shifted, plain, rtol=1e-7, atol=1e-9)


def test_rows_cancel_in_snip_and_not_in_attribution_patching(score):
    a, g = torch.ones(4, 1), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert score(Snip(), a, gradient=g).item() == 0.0
    assert score(AttributionPatching(), a, gradient=g).item() == 1.0


def test_snip_is_normalised_over_the_whole_network():
    net = made(Perceptron)
    x, y = samples(12, 4)
    plain, normalised = (
        nodelens.score(net, batches(x, y), [Snip(normalise=each)]) for each in (False, True)
    )
    total = sum(score.values.sum() for score in plain)
    assert len(plain.groups) == 2
    for score in normalised:
        assert score.values == pytest.approx(plain["Snip", score.group].values / total)


def test_gradient_norm_sees_dead_nodes(score):
    g = torch.tensor([[3.0], [4.0]])
    assert score(GradientNorm(), 0 * g, gradient=g).item() == pytest.approx(math.sqrt(12.5))
