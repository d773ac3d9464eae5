import math

import pytest
import torch

from nodelens_metrics.activations.distributions import (
    ActivationEntropy,
    ActivationQuantile,
    MassiveActivation,
    SignedQuantile,
)

FINE = 1024
"""One bin is then a factor of 1.03 wide."""


@pytest.fixture
def a():
    random = torch.Generator().manual_seed(1)
    return torch.randn(600, 4, 3, generator=random).double() * torch.tensor([0.01, 1.0, 700.0])


@pytest.mark.parametrize("q", [0.05, 0.5, 0.99])
def test_quantiles_are_those_of_the_stored_array_up_to_a_bin(score, a, q):
    flat = a.flatten(0, 1)
    found = score(ActivationQuantile(q=q, bins=FINE), a)
    torch.testing.assert_close(found, flat.abs().quantile(q, dim=0), rtol=0.03, atol=0)
    signed = score(SignedQuantile(q=q, bins=FINE), a + 5 * a.abs().amax((0, 1)))
    expected = (flat + 5 * flat.abs().amax(0)).quantile(q, dim=0)
    torch.testing.assert_close(signed, expected, rtol=0.03, atol=0)


def test_the_default_histogram_is_off_by_a_bin_at_most(score, a):
    found = score(ActivationQuantile(), a) / a.flatten(0, 1).abs().quantile(0.99, dim=0)
    assert bool(((found > 1 / 1.6) & (found < 1.6)).all())


def test_quantiles_of_negative_and_silent_nodes(score):
    node = torch.tensor([-4.0, -4.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    both = torch.stack([node, node * 0], dim=1)
    low = score(SignedQuantile(q=0.2, bins=FINE), both)
    assert low.tolist() == pytest.approx([-4.0, 0.0], rel=0.03)
    assert score(SignedQuantile(), both).tolist() == [0.0, 0.0]
    assert score(ActivationQuantile(q=0.5), both).tolist() == [0.0, 0.0]


def test_entropy_counts_bins_signs_and_zero(score):
    nodes = [[1.0, -1.0, 0.0, 64.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [2.0, -2.0] * 2]
    found = score(ActivationEntropy(), torch.tensor(nodes).T)
    assert found.tolist() == pytest.approx([math.log(4), 0.0, 0.0, math.log(2)])


def massive(peaks, scale=0.2):
    """Return nodes of a typical |a| of `scale` with one larger value each."""
    a = torch.full((999, len(peaks)), scale)
    a[::2] *= -1.0
    a[0] = torch.tensor(peaks)
    return a


@pytest.mark.parametrize(
    ("peak", "is_massive"), [(2000.0, True), (-300.0, True), (150.0, False), (0.2, False)]
)
def test_a_massive_activation_is_above_100_and_1000_medians(score, peak, is_massive):
    """With a median of 0.2 the second threshold is 200, read to a bin of 3 %."""
    found = score(MassiveActivation(bins=FINE), massive([peak, 0.2]))
    assert (found[0].item() >= 1.0) is is_massive
    assert found[0].item() == pytest.approx(abs(peak) / 200.0, rel=0.03)


def test_the_flag_is_one_for_massive_nodes_only(score):
    nodes = massive([2000.0, 150.0, -300.0, 0.2])
    assert score(MassiveActivation(bins=FINE, flag=True), nodes).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_below_100_nothing_is_massive(score):
    found = score(MassiveActivation(), massive([90.0], scale=1e-3))
    assert found.tolist() == pytest.approx([0.9])


def test_the_zeros_of_a_relu_do_not_lower_the_median(score):
    a = torch.cat([massive([150.0]), torch.zeros(5000, 1)])
    assert score(MassiveActivation(bins=FINE), a).item() == pytest.approx(0.75, rel=0.03)


def test_a_group_of_zeros_has_no_massive_activation(score):
    assert score(MassiveActivation(), torch.zeros(5, 2)).tolist() == [0.0, 0.0]
