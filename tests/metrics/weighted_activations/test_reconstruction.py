"""The reconstruction family against least squares on the stored activations."""

import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens_metrics.weighted_activations.contributions import FlapWIFV
from nodelens_metrics.weighted_activations.reconstruction import ReconstructionError

ROWS, NODES, OUTPUTS = 60, 6, 5
TIGHT = 1e-13


@pytest.fixture
def toy():
    random = torch.Generator().manual_seed(1)
    mix = torch.randn(NODES, NODES, generator=random, dtype=torch.float64)
    a = torch.randn(ROWS, NODES, generator=random, dtype=torch.float64) @ mix + 1.5
    return a, torch.randn(OUTPUTS, NODES, generator=random, dtype=torch.float64)


def error_of(a, v, node, repair):
    """The mean squared error of V a after the best repair of that kind, by least squares."""
    others = [other for other in range(NODES) if other != node]
    lost = a[:, [node]] * v[:, node]
    if repair == "none":
        return lost.square().sum(1).mean()
    ones = torch.ones(len(a), 1, dtype=torch.float64)
    known = {
        "mean_bias": ones,
        "weights": a[:, others],
        "weights_and_bias": torch.cat([a[:, others], ones], 1),
    }[repair]
    repaired = known @ torch.linalg.lstsq(known, lost).solution
    return (lost - repaired).square().sum(1).mean()


@pytest.mark.parametrize("repair", ["none", "mean_bias", "weights", "weights_and_bias"])
def test_the_error_is_that_of_the_best_repair(score, toy, repair):
    a, v = toy
    found = score(ReconstructionError(repair, damping=TIGHT), a, v=v)
    expected = torch.stack([error_of(a, v, node, repair) for node in range(NODES)])
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=0.0)


def test_every_repair_helps(score, toy):
    a, v = toy
    none, bias, weights, both = (
        score(ReconstructionError(repair, damping=TIGHT), a, v=v)
        for repair in ("none", "mean_bias", "weights", "weights_and_bias")
    )
    assert (both <= weights).all() and (weights <= none).all()
    assert (both <= bias).all() and (bias <= none).all()


def test_the_repair_of_the_mean_is_flap(score, toy):
    a, v = toy
    found = score(ReconstructionError("mean_bias"), a, v=v)
    torch.testing.assert_close(found, score(FlapWIFV(), a, v=v))


def test_both_repairs_are_flap_times_what_the_peers_do_not_explain(score, toy):
    a, v = toy
    covariance = torch.cov(a.T, correction=0)
    factor = 1 / (covariance.diagonal() * torch.linalg.inv(covariance).diagonal())
    found = score(ReconstructionError("weights_and_bias", damping=TIGHT), a, v=v)
    torch.testing.assert_close(found, factor * score(FlapWIFV(), a, v=v), rtol=1e-8, atol=0.0)


def test_damping_is_relative_to_the_mean_of_the_diagonal(score, toy):
    a, v = toy
    moment = a.T @ a / ROWS
    damped = moment + 0.01 * moment.diagonal().mean() * torch.eye(NODES)
    expected = v.square().sum(0) / torch.linalg.inv(damped).diagonal()
    torch.testing.assert_close(score(ReconstructionError("weights"), a, v=v), expected)


def test_a_duplicate_can_be_replaced_if_the_weights_are_repaired(score, toy):
    a, v = toy
    a, v = torch.cat([a, a[:, :1]], 1), torch.cat([v, v[:, :1]], 1)
    found = score(ReconstructionError("weights", damping=1e-9), a, v=v)
    assert found[0] < 1e-6 * score(ReconstructionError("none"), a, v=v)[0]
    torch.testing.assert_close(found[0], found[6])


def test_a_dead_node_is_free_whatever_the_damping(score, toy):
    a, v = toy
    a = a.index_fill(1, torch.tensor([2]), 0.0)
    for repair in ("none", "mean_bias", "weights", "weights_and_bias"):
        assert score(ReconstructionError(repair), a, v=v)[2] == 0.0


def test_a_constant_node_is_free_once_the_bias_is_repaired(score, toy):
    a, v = toy
    a = a.index_fill(1, torch.tensor([2]), 0.3)
    for repair in ("mean_bias", "weights_and_bias"):
        assert score(ReconstructionError(repair), a, v=v)[2] == 0.0
    assert score(ReconstructionError("none"), a, v=v)[2] > 0.0


def test_singular_moments_without_damping_are_an_error(score, toy):
    a, v = toy
    a, v = torch.cat([a, a[:, :1]], 1), torch.cat([v, v[:, :1]], 1)
    with pytest.raises(NotApplicableError, match="set damping above 0"):
        score(ReconstructionError("weights", damping=0.0), a, v=v)
