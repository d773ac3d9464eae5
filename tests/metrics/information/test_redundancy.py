import math

import pytest
import torch

from nodelens_metrics.information.redundancy import PeerRedundancy, Redundancy
from nodelens_metrics.information.sets import with_noise
from nodelens_metrics.mathematics.estimators import gaussian_information_bias
from nodelens_metrics.mathematics.second_moments import NOISE

QUIET = 1e-12
DUPLICATE = -0.5 * math.log(1 - 1 / (1 + NOISE) ** 2)


@pytest.mark.parametrize(
    ("rho", "information"),
    [(0.5, 0.143841), (0.6, 0.223144), (0.3, 0.047155), (0.8, 0.510826), (0.4, 0.087177), (0.0, 0)],
)
@pytest.mark.parametrize("metric", [Redundancy, PeerRedundancy])
def test_two_gaussians(score, gaussian, metric, rho, information):
    found = score(metric(), gaussian([[1.0, rho], [rho, 1.0]]))
    assert found.tolist() == pytest.approx([information] * 2, abs=3e-6)
    exact = score(metric(noise=QUIET), gaussian([[1.0, rho], [rho, 1.0]]))
    assert exact.tolist() == pytest.approx([-0.5 * math.log1p(-(rho**2))] * 2, abs=1e-11)


@pytest.mark.parametrize("metric", [Redundancy(), PeerRedundancy()])
@pytest.mark.parametrize("factor", [1.0, -3.0, 1e-6])
def test_an_exact_duplicate_gets_the_same_from_both(score, gaussian, metric, factor):
    x = gaussian([[1.0]])
    found = score(metric, torch.cat([x, factor * x + 2.0], dim=1))
    assert found.tolist() == pytest.approx([DUPLICATE] * 2, rel=1e-6)
    assert pytest.approx(6.561, abs=1e-3) == DUPLICATE


@pytest.mark.parametrize(
    ("covariance", "information"),
    [
        ([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]], [0.5 * math.log(1.5)] * 3),
        # X3 = X1 + X2 + N(0, 1/4): its residual variance is 1/4 of 9/4
        ([[1.0, 0, 1.0], [0, 1.0, 1.0], [1.0, 1.0, 2.25]], [0.5 * math.log(5)] * 2 + [math.log(3)]),
    ],
)
def test_peer_redundancy_closed_forms(score, gaussian, covariance, information):
    found = score(PeerRedundancy(noise=QUIET), gaussian(covariance))
    assert found.tolist() == pytest.approx(information, abs=1e-9)


def test_peer_redundancy_is_the_r_squared_of_a_regression(score, data):
    a = data.flatten(0, 1)
    found = score(PeerRedundancy(noise=QUIET), data)
    for node in range(4):
        peers = torch.cat([a[:, [j for j in range(4) if j != node]], torch.ones(60, 1)], dim=1)
        fit = peers @ torch.linalg.lstsq(peers, a[:, [node]]).solution
        unexplained = (a[:, [node]] - fit).square().sum() / (60 * a[:, node].var(correction=0))
        assert found[node].item() == pytest.approx(-0.5 * math.log(unexplained), abs=1e-9)


RHO = [[1.0, 0.6, -0.8, 0.3], [0.6, 1, -0.4, 0], [-0.8, -0.4, 1, -0.3], [0.3, 0, -0.3, 1]]


def shared(*correlations):
    return sum(-0.5 * math.log1p(-(rho**2)) for rho in correlations)


@pytest.mark.parametrize(
    ("options", "information"),
    [
        ({}, shared(0.6, 0.8, 0.3) / 3),
        ({"top": 1}, shared(0.8)),
        ({"top": 2}, shared(0.8, 0.6) / 2),
        ({"top": 9}, shared(0.6, 0.8, 0.3) / 3),
        ({"positive_only": True}, shared(0.6, 0.3) / 3),
        ({"positive_only": True, "top": 1}, shared(0.6)),
    ],
)
def test_options_choose_the_partners(score, gaussian, options, information):
    found = score(Redundancy(noise=QUIET, **options), gaussian(RHO))
    assert found[0].item() == pytest.approx(information, abs=1e-9)


@pytest.mark.parametrize("metric", [Redundancy(), PeerRedundancy()])
def test_dead_constant_and_lonely_nodes_share_nothing(score, gaussian, metric):
    x = gaussian([[1.0, 0.5], [0.5, 1.0]])
    fixed = torch.tensor([0.0, 0.1, 0.7]).double().expand(len(x), 3)
    assert score(metric, torch.cat([fixed, x], dim=1))[:3].tolist() == [0.0] * 3
    assert score(metric, x[:, :1]).tolist() == pytest.approx([0.0], abs=1e-12)


def test_fewer_samples_than_nodes_stay_finite(score):
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    assert score(PeerRedundancy(), x).isfinite().all()


@pytest.mark.parametrize("nodes", [40, 120])
def test_rounding_of_float32_products_does_not_outweigh_the_noise(nodes):
    """No node is known better than noise of its own allows, and none is undefined."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(30, nodes, generator=random).repeat_interleave(8, 1).double()
    rho = torch.corrcoef(x.T)
    error = 4e-6 * torch.randn(rho.shape, generator=random).double()
    found = with_noise((rho + error + error.T).fill_diagonal_(1.0), NOISE)
    values = torch.linalg.eigvalsh(found)
    assert values[0].item() == pytest.approx(NOISE, rel=0.01)
    known = torch.cholesky_inverse(torch.linalg.cholesky(found)).diagonal()
    assert known.max() < 1.01 / NOISE
    assert (found - rho).abs().max() < 1e-3


def test_the_bias_of_every_pair_with_a_node_that_varies_is_subtracted(score, gaussian):
    x = torch.cat([gaussian(RHO), torch.zeros(40, 1)], dim=1)
    plain, corrected = (score(Redundancy(correct_bias=c), x) for c in (False, True))
    bias = gaussian_information_bias(1, 1, 40).item() * 3 / 4
    assert (plain - corrected)[:4].tolist() == pytest.approx([bias] * 4, abs=1e-12)
    assert corrected[4] == 0.0


def test_half_of_unrelated_nodes_are_correlated_negatively(score):
    """So that half of the bias is there to be subtracted from positive correlations alone."""
    x = torch.randn(50, 200, generator=torch.Generator().manual_seed(1))
    plain, corrected = (
        score(Redundancy(positive_only=True, correct_bias=c), x) for c in (False, True)
    )
    bias = gaussian_information_bias(1, 1, 50).item() / 2
    assert plain.mean().item() == pytest.approx(bias, rel=0.05)
    above = corrected > 0
    expected = (plain - corrected)[above]
    torch.testing.assert_close(expected, torch.full_like(expected, bias))


def test_corrected_noise_is_about_nothing(score):
    x = torch.randn(500, 60, generator=torch.Generator().manual_seed(1))
    assert score(Redundancy(), x).mean().item() == pytest.approx(0.001, rel=0.1)
    assert score(Redundancy(correct_bias=True), x).mean() < 1e-4


def test_a_sketch_adds_noise_that_is_known(score):
    x = torch.randn(4000, 40, generator=torch.Generator().manual_seed(2))
    sketched = score(Redundancy(sketch=64), x)
    assert sketched.mean().item() == pytest.approx(1 / 128 + 1 / 8000, rel=0.15)
    assert score(Redundancy(sketch=64, correct_bias=True), x).mean() < 1e-3
    assert Redundancy(top=3).sketched() == Redundancy(top=3, sketch=1024)
