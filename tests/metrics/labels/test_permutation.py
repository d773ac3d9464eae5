import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens.seeding import generator
from nodelens_metrics.labels.permutation import LabelSignificance, label_p_values
from nodelens_metrics.mathematics.estimators import (
    gaussian_label_information,
    label_information,
    normal_scores,
)

ESTIMATORS = ["binned", "copula", "gaussian"]


def nodes(rows=60):
    y = torch.arange(rows) % 3
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)).double()
    return x + y[:, None] * torch.tensor([0.0, 0.3, 0.6, 2.0]), y


def brute(x, y, estimator, permutations):
    """Return p-values by estimating the information of every permutation."""
    random = generator(0, "nodelens_metrics", "permutation")

    def information(labels):
        if estimator == "binned":
            return label_information(x, labels, correct=False)
        values = normal_scores(x) if estimator == "copula" else x
        return gaussian_label_information(values, labels)

    own = information(y)
    orders = [torch.randperm(len(y), generator=random) for _ in range(permutations)]
    above = sum((information(y[order]) >= own - 1e-12).double() for order in orders)
    return (above + 1) / (permutations + 1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_permutations_are_those_of_the_information_itself(estimator):
    x, y = nodes()
    random = generator(0, "nodelens_metrics", "permutation")
    found = label_p_values(x, y, random, 49, estimator=estimator)
    expected = brute(x, y, estimator, 49)
    seen = expected < 0.9  # information that is cut at 0 ties with all permutations
    torch.testing.assert_close(found[seen], expected[seen])
    assert found[3] == 1 / 50


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_unrelated_nodes_have_uniform_p_values(estimator):
    y = torch.arange(80) % 4
    x = torch.randn(80, 400, generator=torch.Generator().manual_seed(1)).double()
    found = label_p_values(x, y, torch.Generator().manual_seed(2), 99, estimator=estimator)
    assert (found <= 0.05).double().mean().item() == pytest.approx(0.05, abs=0.03)
    assert found.mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constant_nodes_have_one_and_none_has_zero(score, estimator):
    x, y = nodes()
    x = torch.cat([x, torch.full((60, 1), 0.1), torch.zeros(60, 1)], dim=1)
    found = score(LabelSignificance(estimator=estimator, permutations=9), x, targets=y)
    assert found[4:].tolist() == [1.0, 1.0]
    assert found.min() == 0.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_constant_away_from_zero_has_one_without_being_settled_before(estimator):
    _, y = nodes(61)
    x = torch.full((61, 1), 0.1, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    assert label_p_values(x, y, random, 49, estimator=estimator).tolist() == [1.0]


def test_one_class_is_a_reason(score):
    with pytest.raises(NotApplicableError, match="fewer than two classes have"):
        score(LabelSignificance(), torch.ones(4, 2))
