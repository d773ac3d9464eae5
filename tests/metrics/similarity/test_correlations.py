import pytest
import torch
from torch import nn

import nodelens
from nodelens_metrics.similarity.correlations import (
    ActivationCorrelation,
    ActivationCosine,
    NextLayerCKA,
    NextLayerInformation,
    WeightCorrelation,
    centred_alignment,
    unbiased_hsic,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def mean_of_others(alike, top):
    rows = [
        sorted((v for j, v in enumerate(row) if j != i), reverse=True)[:top]
        for i, row in enumerate(alike.tolist())
    ]
    return [sum(row) / len(row) for row in rows]


@pytest.mark.parametrize("top", [None, 1, 2])
@pytest.mark.parametrize("absolute", [True, False])
def test_correlations_with_the_others(score, data, top, absolute):
    rho = torch.corrcoef(data.flatten(0, 1).T)
    found = score(ActivationCorrelation(absolute=absolute, top=top), data)
    expected = mean_of_others(rho.abs() if absolute else rho, top)
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("top", [None, 1, 2])
def test_cosines_with_the_others_are_not_centred(score, data, top):
    a = data.flatten(0, 1) - 0.5
    cosine = torch.nn.functional.cosine_similarity(a.T[:, None], a.T[None], dim=2).abs()
    found = score(ActivationCosine(top=top), data - 0.5)
    assert found.tolist() == pytest.approx(mean_of_others(cosine, top))


@pytest.mark.parametrize("top", [None, 1])
@pytest.mark.parametrize("absolute", [True, False])
def test_correlations_of_incoming_weights(score, top, absolute):
    weights = normal(4, 6) + 1.0
    rho = torch.corrcoef(weights)
    found = score(WeightCorrelation(absolute=absolute, top=top), normal(9, 4), w=weights)
    expected = mean_of_others(rho.abs() if absolute else rho, top)
    assert found.tolist() == pytest.approx(expected)


def test_equal_weights_correlate_with_nothing(score):
    weights = torch.cat([normal(2, 6), torch.full((1, 6), 0.3)])
    assert score(WeightCorrelation(), normal(9, 3), w=weights)[2] == 0.0


def test_constants_have_a_cosine_and_no_correlation(score):
    x = torch.cat([normal(30, 1) + 1.0, torch.full((30, 1), 0.3), torch.zeros(30, 1)], dim=1)
    cosine = x[:, 0].mean().abs() / x[:, 0].square().mean().sqrt()
    cosine = cosine.item()
    found = score(ActivationCosine(), x).tolist()
    assert found == pytest.approx([cosine / 2, cosine / 2, 0.0])
    assert score(ActivationCorrelation(), x).tolist() == [0.0] * 3


@pytest.mark.parametrize(
    "metric", [ActivationCorrelation(sketch=4096), ActivationCosine(sketch=4096)]
)
def test_a_sketch_is_an_estimate_of_the_exact_value(score, metric):
    x = normal(500, 8) @ normal(8, 8, seed=1) + 0.5
    assert (score(metric, x) - score(type(metric)(), x)).abs().max() < 0.05
    assert type(metric)().sketched().sketch == 1024


@pytest.mark.parametrize("metric", [ActivationCorrelation(), ActivationCosine()])
def test_one_node_is_like_none(score, metric):
    assert score(metric, normal(20, 1)).tolist() == [0.0]


@pytest.fixture
def chain():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)]
        return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("top", [None, 2])
def test_information_about_the_next_layer(chain, top):
    x = normal(60, 4)
    here = chain[:2](x).detach()
    there = chain[:4](x).detach()
    rho = torch.corrcoef(torch.cat([here, there], dim=1).T)[:5, 5:]
    shared = -0.5 * (-(rho / (1 + 1e-6)).square()).log1p()
    expected = shared.topk(top or 3, dim=1).values.mean(1)
    scores = nodelens.score(chain, [x[:20], x[20:]], [NextLayerInformation(top=top)], folds=2)
    found = scores["NextLayerInformation", "0:neurons"].values.tolist()
    assert found == pytest.approx(expected.tolist())
    assert ("NextLayerInformation", "2:neurons") in scores.skipped


def by_quadruples(x, y):
    """Return HSIC as a mean over all ordered quadruples of different samples, as it is defined."""
    k, m = x @ x.T, y @ y.T
    n, total, count = len(x), 0.0, 0
    for i in range(n):
        for j in set(range(n)) - {i}:
            for q in set(range(n)) - {i, j}:
                for r in set(range(n)) - {i, j, q}:
                    total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                    count += 1
    return float(total) / count


def test_hsic_is_the_u_statistic_of_its_definition():
    x, y = normal(6, 3), normal(6, 2, seed=1) + 2.0
    found = unbiased_hsic(x @ x.T, y @ y.T).item()
    assert found == pytest.approx(by_quadruples(x, y), rel=1e-10)


def test_hsic_does_not_depend_on_offsets():
    x, y = normal(9, 3), normal(9, 2, seed=1)
    far = unbiased_hsic((x + 5.0) @ (x + 5.0).T, (y - 3.0) @ (y - 3.0).T).item()
    assert far == pytest.approx(unbiased_hsic(x @ x.T, y @ y.T).item(), rel=1e-9)


def test_cka_of_rotations_is_one_and_of_unrelated_rows_zero_on_average():
    x = normal(30, 6)
    rotation = torch.linalg.qr(normal(6, 6, seed=1)).Q
    assert centred_alignment(x, 3.0 * x @ rotation - 1.0).item() == pytest.approx(1.0)
    found = [
        centred_alignment(normal(16, 40, seed=seed), normal(16, 40, seed=500 + seed)).item()
        for seed in range(200)
    ]
    assert sum(found) / 200 == pytest.approx(0.0, abs=0.02)
    assert centred_alignment(x, x * 0.0).item() == 0.0


def test_cka_with_the_next_layer_is_that_of_the_sampled_rows(chain):
    x = normal(40, 4)
    metric = NextLayerCKA(rows=4096)
    scores = nodelens.score(chain, [x], [metric], folds=2)
    here, there = chain[:2](x).detach(), chain[:4](x).detach()
    expected = centred_alignment(here, there).item()
    assert scores["NextLayerCKA", "0:neurons"].values.tolist() == pytest.approx([expected])
    assert ("NextLayerCKA", "2:neurons") in scores.skipped


def test_cka_needs_four_rows(chain):
    scores = nodelens.score(chain, [normal(3, 4)], ["next_layer_cka"], folds=2)
    assert "3 rows are sampled" in scores.skipped["next_layer_cka", "0:neurons"]
