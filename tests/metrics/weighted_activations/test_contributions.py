import torch

from nodelens_metrics.activations.activity import ActivationVariance
from nodelens_metrics.weighted_activations.contributions import (
    FlapIFV,
    FlapWIFN,
    FlapWIFV,
    IndependentContribution,
    WandaSP,
)

V = torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.5, 2.0, 1.0, -1.0]], dtype=torch.float64)


def test_wanda_sp_averages_the_weight_scores_of_a_column(score, data):
    norms = data.square().mean((0, 1)).sqrt()
    weight_scores = V.abs() * norms
    torch.testing.assert_close(score(WandaSP(), data, v=V), weight_scores.mean(0))


def test_wifv_is_the_error_of_replacing_one_node_by_its_mean(score, data):
    found = score(FlapWIFV(), data, v=V)
    for node in range(4):
        replaced = data.clone()
        replaced[..., node] = data[..., node].mean()
        error = ((data - replaced) @ V.T).square().sum(-1).mean()
        torch.testing.assert_close(found[node], error)


def test_ifv_is_the_variance_and_wifn_is_wanda_sp(score, data):
    assert torch.equal(score(FlapIFV(), data), score(ActivationVariance(), data))
    assert torch.equal(score(FlapWIFN(), data, v=V), score(WandaSP(), data, v=V))


def flap_scaler(data):
    """The published running mean over rows of the squared norm of a row, one row per batch."""
    scaler = torch.zeros(data.shape[-1], dtype=torch.float64)
    for seen, row in enumerate(data):
        scaler = scaler * seen / (seen + 1) + row.norm(dim=0).square() / (seen + 1)
    return scaler


def test_wifn_is_the_published_score_up_to_the_length_of_rows(score, data):
    published = (V.abs() * flap_scaler(data).sqrt()).mean(0)
    torch.testing.assert_close(score(FlapWIFN(), data, v=V) * 3**0.5, published)


def test_independent_contribution_weighs_every_position_alike(score, data):
    expected = V.norm(dim=0) * data.abs().mean((0, 1))
    torch.testing.assert_close(score(IndependentContribution(), data, v=V), expected)
