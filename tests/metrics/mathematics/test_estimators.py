import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import psi
from scipy.stats import norm, rankdata

from nodelens.errors import NotApplicableError
from nodelens_metrics.labels import permutation
from nodelens_metrics.labels.permutation import label_p_values
from nodelens_metrics.mathematics import estimators
from nodelens_metrics.mathematics.estimators import (
    average_ranks,
    copula_information,
    copula_label_information,
    gaussian_entropy_bias,
    gaussian_information_bias,
    gaussian_label_information,
    label_information,
    normal_scores,
)
from nodelens_metrics.mathematics.neighbours import ksg_label_information


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(
    ("samples", "expected"), [(50, 0.010525), (200, 0.0025316), (1000, 0.00050125)]
)
def test_bias_of_the_information_between_two_gaussians(samples, expected):
    assert gaussian_information_bias(1, 1, samples).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("left", "right"), [(1, 1), (2, 1), (2, 3)])
def test_the_information_bias_is_what_independent_samples_show(left, right):
    x = normal(20_000, 25, left + right, seed=1)
    x = x - x.mean(1, keepdim=True)
    covariance = x.mT @ x
    parts = covariance, covariance[:, :left, :left], covariance[:, left:, left:]
    both, one, other = (torch.linalg.slogdet(part).logabsdet for part in parts)
    shown = 0.5 * (one + other - both).mean().item()
    assert gaussian_information_bias(left, right, 25).item() == pytest.approx(shown, rel=0.02)


def test_the_entropy_bias_is_that_of_its_formula():
    expected = 0.5 * (3 * math.log(2 / 19) + sum(psi((20 - k) / 2) for k in (1, 2, 3)))
    assert gaussian_entropy_bias(3, 20).item() == pytest.approx(expected, rel=1e-12)


def test_too_few_samples_have_no_bias_to_subtract():
    assert gaussian_information_bias(1, 1, 1.0).item() == 0.0


@given(
    st.lists(st.lists(st.integers(-2, 3), min_size=2, max_size=2), min_size=1, max_size=12),
)
@settings(max_examples=50, deadline=None)
def test_ranks_are_those_of_scipy(rows):
    x = torch.tensor(rows).double()
    np.testing.assert_array_equal(average_ranks(x).numpy(), rankdata(x.numpy(), axis=0))


def test_normal_scores_do_not_depend_on_the_order_of_tied_samples():
    x = normal(40, 3).relu()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(normal_scores(x[order]), normal_scores(x)[order], rtol=0, atol=0)
    expected = norm.ppf(rankdata(x[:, 0].numpy()) / 41)
    assert normal_scores(x)[:, 0].tolist() == pytest.approx(expected.tolist())


def mixed_labels():
    return torch.arange(900) % 3, torch.tensor([1.0, 1.1, 0.95])[torch.arange(900) % 3, None]


@pytest.mark.parametrize("shared", [True, False])
def test_gaussian_label_information_against_its_formula(shared):
    """GCMI's model of a Gaussian and a discrete variable, with variances that need no floor."""
    y, scale = mixed_labels()
    x = normal(900, 2) * scale + y[:, None] * 0.5
    found = gaussian_label_information(x, y, shared_variance=shared)

    def beta(n):
        return 0.5 * (np.log(2 / (n - 1)) + psi((n - 1) / 2))

    for node in range(2):
        column = x[:, node].numpy()
        groups = [column[y.numpy() == label] for label in range(3)]
        outside = 0.5 * np.log(column.var(ddof=1)) - beta(900)
        if shared:
            within = sum(((g - g.mean()) ** 2).sum() for g in groups) / 897
            inside = 0.5 * np.log(within) - beta(898)
        else:
            inside = np.mean([0.5 * np.log(g.var(ddof=1)) - beta(300) for g in groups])
        assert found[node].item() == pytest.approx(outside - inside, abs=1e-12)


def test_the_discrete_bias_is_that_of_the_classes():
    """β(1, N) − Σ p_c β(1, N_c): what unrelated labels show on average."""
    y = torch.arange(24) % 3
    x = normal(24, 200_000, seed=2)
    x = x - x.mean(0)
    total = 0.5 * (x.square().sum(0) / 23).log()
    classes = [x[y == label] for label in range(3)]
    inside = sum(0.5 * part.var(0).log() for part in classes) / 3
    shown = (total - inside).mean().item()
    expected = gaussian_entropy_bias(1, 24) - gaussian_entropy_bias(1, 8)
    assert shown == pytest.approx(expected.item(), abs=0.002)


def test_copula_label_information_ignores_monotone_maps():
    y = torch.arange(60) % 3
    x = normal(60, 4) + y[:, None]
    torch.testing.assert_close(
        copula_label_information(x.exp(), y), copula_label_information(x, y), rtol=0, atol=0
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_copula_information_of_gaussians(rho):
    x = normal(200_000, 2, seed=3)
    y = rho * x[:, 0] + math.sqrt(1 - rho**2) * x[:, 1]
    found = copula_information(torch.stack([x[:, 0], x[:, 0] * 0], dim=1), y)
    assert found[0].item() == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.005)
    assert found[1] == 0.0


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_a_monotone_map_of_a_number_gets_what_a_duplicate_gets(noise):
    x = normal(60, 1)
    found = copula_information(x, -x[:, 0].exp(), noise=noise)
    duplicate = -0.5 * math.log(1 - 1 / (1 + noise) ** 2)
    bias = gaussian_information_bias(1, 1, 60).item()
    assert found.item() == pytest.approx(duplicate - bias, rel=1e-6)


def brute_binned(column, y, bins):
    ordered = np.sort(column)
    edges = [ordered[len(column) * b // bins] for b in range(1, bins)]
    cells = np.digitize(column, edges)
    table = np.zeros((bins, int(y.max()) + 1))
    np.add.at(table, (cells, y), 1)
    p = table / table.sum()
    outer = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    plug_in = (p[p > 0] * np.log(p[p > 0] / outer[p > 0])).sum()
    kinds = (table > 0).sum() - (table.sum(1) > 0).sum() - (table.sum(0) > 0).sum() + 1
    return plug_in, kinds / (2 * table.sum())


@pytest.mark.parametrize("bins", [2, 5, 8])
def test_binned_information_against_a_table(bins):
    y = torch.arange(120) % 4
    x = (normal(120, 3) + y[:, None] * torch.tensor([0.3, 1.0, 2.0])).relu()
    plain = label_information(x, y, bins=bins, correct=False)
    corrected = label_information(x, y, bins=bins)
    for node in range(3):
        plug_in, bias = brute_binned(x[:, node].numpy(), y.numpy(), bins)
        assert plain[node].item() == pytest.approx(plug_in, abs=1e-12)
        assert corrected[node].item() == pytest.approx(max(0.0, plug_in - bias), abs=1e-12)


def test_the_correction_of_binned_information_takes_noise_to_about_zero():
    y = torch.arange(1000) % 10
    x = normal(1000, 400, seed=4)
    plain = label_information(x, y, correct=False).mean().item()
    corrected = label_information(x, y)
    assert plain == pytest.approx(63 / 2000, rel=0.1)
    assert corrected.mean() < 0.004


def test_binned_information_is_bounded_by_the_entropy_of_the_labels():
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    found = label_information(torch.stack([y, y * 0 + 3], dim=1).double(), y, correct=False)
    assert found.tolist() == pytest.approx([-0.75 * math.log(0.75) - 0.25 * math.log(0.25), 0.0])


def test_unlabelled_samples_do_not_count():
    y = torch.arange(60) % 3
    x = normal(60, 2) + y[:, None]
    more = torch.cat([x, 100 * x[:5]]), torch.cat([y, y[:5] * 0 - 100])
    for estimate in (label_information, copula_label_information):
        torch.testing.assert_close(estimate(*more), estimate(x, y))


@pytest.mark.parametrize("estimate", [label_information, copula_label_information])
def test_one_class_is_a_reason(estimate):
    with pytest.raises(NotApplicableError, match="fewer than two classes have"):
        estimate(normal(6, 2), torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize(
    "work",
    [
        label_information,
        copula_label_information,
        ksg_label_information,
        lambda x, y: normal_scores(x),
        lambda x, y: label_p_values(x, y, torch.Generator().manual_seed(0), 9),
        lambda x, y: label_p_values(x, y, torch.Generator().manual_seed(0), 9, estimator="copula"),
    ],
)
def test_some_nodes_at_a_time_get_what_all_at_once_get(monkeypatch, work):
    y = torch.arange(30) % 3
    x = normal(30, 7).relu() + y[:, None]
    expected = work(x, y)
    monkeypatch.setattr(estimators, "AT_ONCE", 70)
    monkeypatch.setattr(permutation, "AT_ONCE", 400)
    torch.testing.assert_close(work(x, y), expected, rtol=0, atol=1e-12)
