import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.gram import Gram


def test_covariance_and_correlation_are_those_of_the_stored_array(summary_of, values):
    found, stored = summary_of(Gram(), values, sizes=5), values.flatten(0, 1)
    torch.testing.assert_close(found.covariance, torch.cov(stored.T, correction=0))
    torch.testing.assert_close(found.correlation, torch.corrcoef(stored.T))
    torch.testing.assert_close(found.mean, stored.mean(0))


@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"), [(torch.float64, 1e8, 1e-6), (torch.float32, 1e4, 1e-2)]
)
def test_a_large_offset_keeps_the_smallest_eigenvalue(summary_of, dtype, offset, tolerance):
    random = torch.Generator().manual_seed(2)
    values = (torch.randn(200, 4, 6, generator=random, dtype=torch.float64) + offset).to(dtype)
    found = torch.linalg.eigvalsh(summary_of(Gram(), values, sizes=33).covariance)
    exact = torch.linalg.eigvalsh(torch.cov(values.double().flatten(0, 1).T, correction=0))
    torch.testing.assert_close(found, exact, rtol=tolerance, atol=0.0)


def test_a_constant_node_correlates_with_nothing(summary_of, values):
    values[..., 1] = 0.1
    values[..., 3] = 0.7
    found = summary_of(Gram(), values, sizes=5).correlation
    eye = torch.eye(5, dtype=torch.float64)
    assert torch.equal(found[[1, 3]], eye[[1, 3]])
    assert found.isfinite().all()


@pytest.mark.parametrize("nodes", [5, 300])
def test_the_variance_is_the_diagonal_of_the_covariance(summary_of, nodes):
    values = torch.randn(40, 1, nodes, generator=torch.Generator().manual_seed(0))
    values[..., 1] = 0.3
    found = summary_of(Gram(), values)
    assert torch.equal(found.variance, found.covariance.diagonal())
    assert found.covariance[1].tolist() == found.covariance[:, 1].tolist() == [0.0] * nodes
    exact = values.double().var(0, correction=0)[0]
    torch.testing.assert_close(found.variance, exact, rtol=1e-5, atol=1e-6)


def test_folds_are_kept_apart(values):
    fold = torch.arange(12) % 3
    state = Gram().start(Layout(5, 3))
    Gram().update(state, Reading(values=values, fold=fold))
    found = Gram().summary(state, torch.tensor([True, False, True])).covariance
    stored = values[fold != 1].flatten(0, 1)
    torch.testing.assert_close(found, torch.cov(stored.T, correction=0))
