import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.pairs import CrossGram


def cross(values, partner, sizes=5, **fields):
    statistic, parts = CrossGram(), zip(values.split(sizes), partner.split(sizes), strict=True)
    total = statistic.start(Layout(values.shape[-1], 1, others=partner.shape[-1]))
    for number, (left, right) in enumerate(parts):
        rows = slice(number * sizes, number * sizes + len(left))
        state = statistic.start(Layout(values.shape[-1], 1, others=partner.shape[-1]))
        fold = torch.zeros(len(left), dtype=torch.int64)
        given = {name: value[rows] for name, value in fields.items()}
        statistic.update(state, Reading(values=left, partner=right, fold=fold, **given))
        statistic.merge(total, state)
    return statistic.summary(total, torch.ones(1, dtype=torch.bool))


@pytest.fixture
def partner(values):
    noise = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(4)).double()
    return values[..., :3] + noise


def covariance(values, partner):
    left, right = (side.flatten(0, 1).double() for side in (values, partner))
    return (left - left.mean(0)).T @ (right - right.mean(0)) / len(left)


def test_the_covariance_is_that_of_the_stored_arrays(values, partner):
    found = cross(values, partner)
    torch.testing.assert_close(found.covariance, covariance(values, partner))
    torch.testing.assert_close(found.mean, values.mean((0, 1)))
    torch.testing.assert_close(found.other_mean, partner.mean((0, 1)))
    torch.testing.assert_close(found.variance, values.flatten(0, 1).var(0, correction=0))
    torch.testing.assert_close(found.other_variance, partner.flatten(0, 1).var(0, correction=0))
    joint = torch.corrcoef(torch.cat([values, partner], -1).flatten(0, 1).T)
    torch.testing.assert_close(found.correlation, joint[:5, 5:])


def test_padding_is_left_out_of_both(values, partner):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    dirty = partner.masked_fill(~valid.unsqueeze(-1), 7.0)
    found = cross(values.masked_fill(~valid.unsqueeze(-1), 0.0), dirty, valid=valid)
    expected = covariance(values[valid].unsqueeze(0), partner[valid].unsqueeze(0))
    torch.testing.assert_close(found.covariance, expected)


def test_a_large_offset_of_both_does_not_cancel(values, partner):
    spread = values / values.std((0, 1))
    found = cross(spread + 1e8, partner + 1e8).covariance
    expected = covariance((spread + 1e8) - 1e8, (partner + 1e8) - 1e8)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_half_precision_does_not_overflow():
    values = torch.tensor([[[3e4]], [[6e4]]], dtype=torch.float16)
    assert cross(values, values, 1).covariance.item() == pytest.approx(1.5e4**2, rel=1e-3)


def test_constants_covary_with_nothing(values, partner):
    values[..., 1], partner[..., 2] = 0.1, 0.7
    found = cross(values, partner)
    assert not found.covariance[1].any()
    assert not found.covariance[:, 2].any()
    assert not found.correlation[1].any()
    assert found.correlation.isfinite().all()
