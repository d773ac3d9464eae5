import math

import numpy as np
import pytest
import torch
from scipy.special import psi

from nodelens.errors import NotApplicableError
from nodelens_metrics.labels.classes import ClassInformation, ClassSelectivity, FisherRatio, bias


@pytest.mark.parametrize(
    ("rows", "expected"), [(50, 0.010525), (200, 0.0025316), (1000, 0.00050125)]
)
def test_bias_of_the_information_between_two_gaussians(rows, expected):
    """β(1) + β(1) − β(2) of N rows, written with the bias of one log variance."""
    one, two = (bias(torch.tensor(rows - k, dtype=torch.float64)) for k in (1, 2))
    found = one - two - 0.5 * math.log((rows - 2) / (rows - 1))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_bias_is_what_gaussian_samples_show():
    x = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shown = 0.5 * x.var(1).log().mean()
    assert shown.item() == pytest.approx(bias(torch.tensor(4.0).double()).item(), abs=0.004)


def reference(x, labels, shared):
    """Information of a Gaussian per class, after Ince et al., each variance at least 3/4 of all."""

    def entropy(variance, dof):
        return 0.5 * np.log(variance) - 0.5 * (np.log(2 / dof) + psi(dof / 2))

    groups = [x[labels == label] for label in np.unique(labels)]
    dof = len(x) - len(groups)
    pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / dof
    if shared:
        inside = entropy(pooled, dof)
    else:
        floored = [max(g.var(ddof=1), 0.75 * pooled) for g in groups]
        parts = zip(groups, floored, strict=True)
        inside = sum(len(g) / len(x) * entropy(var, len(g) - 1) for g, var in parts)
    return entropy(x.var(ddof=1), len(x) - 1) - inside


@pytest.mark.parametrize("shared", [False, True])
def test_class_information_against_the_reference(score, shared):
    random = torch.Generator().manual_seed(3)
    targets = torch.arange(60) % 3
    x = torch.randn(60, 2, generator=random, dtype=torch.float64)
    x = x * torch.tensor([1.0, 1.5, 0.7])[targets, None] + targets[:, None] * 0.8
    found = score(ClassInformation(shared_variance=shared), x, targets=targets)
    expected = [reference(column, targets.numpy(), shared) for column in x.T.numpy()]
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rate", [0.002, 0.005, 0.01, 0.019])
def test_a_node_that_rarely_fires_knows_no_more_than_that_it_fires(score, shared, rate):
    random = torch.Generator().manual_seed(11)
    fires = torch.rand(2000, 200, generator=random) < rate
    x = fires * torch.rand(2000, 200, generator=random)
    found = score(ClassInformation(shared_variance=shared), x, targets=torch.arange(2000) % 10)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
    assert found.max() < entropy + 0.02
    assert found.mean() < 0.01


def test_unequal_variances_count_down_to_the_floor(score):
    targets = torch.arange(4000) % 2
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(12)).double()
    x = (x * torch.tensor([0.1, 1.0])[targets, None]) + targets[:, None]
    shared, split = (score(ClassInformation(shared_variance=s), x, targets=targets) for s in (1, 0))
    gain = 0.5 * math.log(0.505) - 0.25 * math.log(0.75 * 0.505) - 0.25 * math.log(1.0)
    assert (split - shared).item() == pytest.approx(gain, abs=0.02)


def test_noise_has_about_no_information(score):
    x = torch.randn(60, 200, generator=torch.Generator().manual_seed(4))
    found = score(ClassInformation(), x, targets=torch.arange(60) % 3)
    assert 0.4 < (found == 0).double().mean() < 0.8
    assert found.mean() < 0.03


@pytest.mark.parametrize("shared", [False, True])
def test_a_perfect_node_has_the_entropy_of_the_labels(score, shared):
    targets = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    found = score(ClassInformation(shared_variance=shared), targets[:, None], targets=targets)
    assert found.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_classes_of_one_row_are_left_out_of_everything(score):
    x = torch.randn(41, 3, generator=torch.Generator().manual_seed(5))
    targets = torch.arange(41) % 2
    targets[40] = 2
    alone = score(ClassInformation(), x[:40], targets=targets[:40])
    torch.testing.assert_close(score(ClassInformation(), x, targets=targets), alone)


def test_positions_are_averaged_before_anything_is_counted(score):
    x = torch.randn(30, 6, 2, generator=torch.Generator().manual_seed(6)).double()
    targets = torch.arange(30) % 3
    found = score(ClassInformation(), x, targets=targets)
    torch.testing.assert_close(found, score(ClassInformation(), x.mean(1), targets=targets))


@pytest.mark.parametrize(
    ("means", "selectivity"),
    [([3.0, 1, 1], 0.5), ([2, 2, 2], 0.0), ([4, 0, 0], 1.0), ([0, 0, 0], 0.0), ([-1, -3, -3], 0.5)],
)
def test_class_selectivity(score, means, selectivity):
    targets = torch.arange(6) % 3
    found = score(ClassSelectivity(), torch.tensor(means)[targets, None], targets=targets)
    assert found.item() == pytest.approx(selectivity)


def test_classes_count_alike_in_selectivity_whatever_their_size(score):
    targets = torch.tensor([0, 1, 1, 1, 1, 2])
    found = score(ClassSelectivity(), torch.tensor([3.0, 2, 0])[targets, None], targets=targets)
    assert found.item() == pytest.approx((3 - 1) / (3 + 1))


def test_fisher_ratio_against_the_stored_array(score):
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(7)).double()
    targets = torch.arange(30).square() % 3
    groups = [x[targets == label] for label in targets.unique()]
    between = sum(len(g) * (g.mean(0) - x.mean(0)).square() for g in groups)
    within = sum((g - g.mean(0)).square().sum(0) for g in groups)
    torch.testing.assert_close(score(FisherRatio(), x, targets=targets), between / within)


def test_fisher_ratio_is_limited_where_nothing_varies_within_classes(score):
    targets = torch.arange(8) % 2
    nodes = torch.stack([targets, targets * 0, targets * 0 + 1], dim=1) * 0.1
    assert score(FisherRatio(), nodes, targets=targets).tolist() == pytest.approx([2.0**40, 0, 0])


@pytest.mark.parametrize("metric", [ClassSelectivity(), FisherRatio(), ClassInformation()])
def test_one_class_is_a_reason(score, metric):
    with pytest.raises(NotApplicableError, match="fewer than two classes have"):
        score(metric, torch.ones(4, 2))
