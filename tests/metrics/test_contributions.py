import torch

from nodelens_metrics.contributions import FlapWIFV, WandaSP

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
