import math

import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens_metrics.information.peers import (
    ClassInteraction,
    ClassRedundancy,
    CopulaRedundancy,
    KSGRedundancy,
)
from nodelens_metrics.mathematics.estimators import gaussian_information_bias, normal_scores
from nodelens_metrics.mathematics.neighbours import ksg_information

QUIET = 1e-12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def shared(x):
    rho = torch.corrcoef(x.T).fill_diagonal_(0.0)
    return -0.5 * (-rho.square()).log1p()


def test_copula_redundancy_against_normal_scores(score):
    x = normal(50, 4) @ normal(4, 4, seed=1)
    expected = shared(normal_scores(x)).sum(1) / 3 - gaussian_information_bias(1, 1, 50)
    found = score(CopulaRedundancy(noise=QUIET), x)
    torch.testing.assert_close(found, expected.clamp(min=0.0))


def test_copula_redundancy_ignores_monotone_maps(score):
    x = normal(50, 4) @ normal(4, 4, seed=1)
    torch.testing.assert_close(score(CopulaRedundancy(), x.exp()), score(CopulaRedundancy(), x))


def test_ksg_redundancy_measures_the_most_correlated(score):
    x = normal(200, 2)
    x = torch.stack([x[:, 0], x[:, 1], x[:, 0] + 0.1 * x[:, 1]], dim=1)
    found = score(KSGRedundancy(), x)
    expected = ksg_information(x[:, :1], x[:, 2:]).item()
    assert found[0].item() == pytest.approx(expected, abs=1e-6)
    assert found[2].item() == pytest.approx(expected, abs=1e-6)


def within(x, y):
    parts = [x[y == label] for label in y.unique()]
    biases = [gaussian_information_bias(1, 1, float(len(part))) for part in parts]
    terms = [
        len(part) / len(x) * (shared(part) - bias) for part, bias in zip(parts, biases, strict=True)
    ]
    return sum(terms).fill_diagonal_(0.0)


def two_classes():
    y = torch.tensor([0] * 40 + [1] * 20)
    return normal(60, 4) @ normal(4, 4, seed=1) + 3.0 * y[:, None] * normal(1, 4, seed=2), y


def test_class_redundancy_against_the_classes(score):
    x, y = two_classes()
    found = score(ClassRedundancy(noise=QUIET), x, targets=y)
    torch.testing.assert_close(found, (within(x, y).sum(1) / 3).clamp(min=0.0))
    for top in (1, 2):
        found = score(ClassRedundancy(noise=QUIET, top=top), x, targets=y)
        best = within(x, y).fill_diagonal_(-9.0).topk(top, dim=1).values.mean(1)
        torch.testing.assert_close(found, best.clamp(min=0.0))


def test_the_node_itself_is_no_partner_when_others_share_less_than_the_bias(score):
    x, y = normal(60, 4), torch.tensor([0] * 40 + [1] * 20)
    best = within(x, y).fill_diagonal_(-9.0).topk(2, dim=1).values.mean(1)
    found = score(ClassRedundancy(noise=QUIET, top=2), x, targets=y)
    torch.testing.assert_close(found, best.clamp(min=0.0))


def test_class_interaction_is_the_difference(score):
    x, y = two_classes()
    over_all = shared(x) - gaussian_information_bias(1, 1, 60)
    expected = (within(x, y) - over_all).fill_diagonal_(0.0).sum(1) / 3
    torch.testing.assert_close(score(ClassInteraction(noise=QUIET), x, targets=y), expected)


def test_nodes_that_are_alike_by_their_classes_alone_share_nothing_within(score):
    y = torch.arange(2000) % 2
    x = normal(2000, 2) + 4.0 * y[:, None]
    assert score(ClassRedundancy(), x, targets=y).max() < 0.002
    rho = 4.0 / 5.0
    expected = 0.5 * math.log(1 - rho**2)
    found = score(ClassInteraction(), x, targets=y)
    assert found.tolist() == pytest.approx([expected] * 2, abs=0.03)


def test_nodes_that_are_opposed_by_class_interact(score):
    y = torch.arange(2000) % 2
    x = normal(2000, 2)
    x[:, 1] = x[:, 0] * (2.0 * y - 1.0) + x[:, 1]
    found = score(ClassInteraction(), x, targets=y)
    assert found.tolist() == pytest.approx([0.5 * math.log(2)] * 2, abs=0.03)


@pytest.mark.parametrize("metric", [ClassRedundancy(), ClassInteraction()])
def test_one_class_is_a_reason_and_small_classes_do_not_count(score, metric):
    x, y = two_classes()
    with pytest.raises(NotApplicableError, match="fewer than two classes have 5 or more"):
        score(metric, x, targets=y * 0)
    more = torch.cat([x, 100 * x[:4]]), torch.cat([y, y[:4] * 0 + 2])
    torch.testing.assert_close(score(metric, more[0], targets=more[1]), score(metric, x, targets=y))


@pytest.mark.parametrize(
    "metric", [CopulaRedundancy(), KSGRedundancy(), ClassRedundancy(), ClassInteraction()]
)
def test_dead_constant_and_lonely_nodes_share_nothing(score, metric):
    x, y = two_classes()
    fixed = torch.tensor([0.0, 0.1, 0.7]).double().expand(len(x), 3)
    found = score(metric, torch.cat([fixed, x], dim=1), targets=y)
    assert found[:3].tolist() == [0.0] * 3
    assert score(metric, x[:, :1], targets=y).tolist() == [0.0]


def test_an_exact_duplicate_gets_what_redundancy_gives_it(score):
    x = normal(60, 1)
    found = score(CopulaRedundancy(), torch.cat([x, x], dim=1))
    expected = -0.5 * math.log(1 - 1 / (1 + 1e-6) ** 2) - gaussian_information_bias(1, 1, 60)
    assert found.tolist() == pytest.approx([expected.item()] * 2, rel=1e-6)
