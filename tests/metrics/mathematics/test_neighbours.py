import math

import pytest
import torch
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from nodelens_metrics.mathematics.neighbours import ksg_information, ksg_label_information


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_with_labels_it_is_the_estimate_of_scikit_learn(neighbours):
    y = torch.arange(300) % 4
    x = normal(300, 5) + y[:, None] * torch.linspace(0, 1.5, 5)
    expected = mutual_info_classif(x.numpy(), y.numpy(), n_neighbors=neighbours, random_state=0)
    found = ksg_label_information(x, y, neighbours=neighbours)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_classes_smaller_than_the_neighbours_use_what_they_have():
    y = torch.tensor([0] * 20 + [1] * 20 + [2] * 3 + [3])
    x = normal(44, 3) + y[:, None]
    expected = mutual_info_classif(x.numpy(), y.numpy(), n_neighbors=5, random_state=0)
    found = ksg_label_information(x, y, neighbours=5)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_between_numbers_it_is_the_estimate_of_scikit_learn(neighbours):
    x = normal(300, 4)
    y = x.roll(1, 1) * 0.7 + normal(300, 4, seed=1)
    found = ksg_information(x, y, neighbours=neighbours)
    for node in range(4):
        pair = x[:, [node]].numpy(), y[:, node].numpy()
        expected = mutual_info_regression(*pair, n_neighbors=neighbours, random_state=0)
        assert found[node].item() == pytest.approx(expected[0], abs=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_gaussians_get_their_information(rho):
    x = normal(4000, 2, seed=2)
    y = rho * x[:, :1] + math.sqrt(1 - rho**2) * x[:, 1:]
    found = ksg_information(x[:, :1], y).item()
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.03)


def test_a_node_that_is_zero_or_not_tells_as_much_as_that():
    """Half of the samples are tied; which half is the label, so that the information is log 2."""
    y = torch.arange(400) % 2
    x = (1.0 + normal(400, 1).abs()) * y[:, None]
    assert ksg_label_information(x, y).item() == pytest.approx(math.log(2), abs=0.02)


def test_ties_do_not_depend_on_the_order_of_samples():
    x, y = normal(80, 3).relu(), torch.arange(80) % 2
    order = torch.randperm(80, generator=torch.Generator().manual_seed(3))
    keys = torch.arange(80)
    found = ksg_label_information(x[order], y[order], keys=keys[order])
    torch.testing.assert_close(found, ksg_label_information(x, y, keys=keys))
    pairs = ksg_information(x[order], x.roll(1, 1)[order], keys=keys[order])
    torch.testing.assert_close(pairs, ksg_information(x, x.roll(1, 1), keys=keys))


def test_constants_and_too_few_samples_have_none():
    x = torch.cat([normal(20, 1), torch.full((20, 1), 0.1).double()], dim=1)
    y = torch.arange(20) % 2
    assert ksg_label_information(x, y)[1] == 0.0
    assert ksg_information(x, x[:, [1, 0]]).tolist() == [0.0, 0.0]
    assert ksg_information(x[:3], x[:3]).tolist() == [0.0, 0.0]
