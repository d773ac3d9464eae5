import pytest
import torch

from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments


def close(found, expected, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0.0)


def test_moments_are_those_of_the_stored_array(summary_of, values):
    found, stored = summary_of(Moments(), values, sizes=5), values.flatten(0, 1)
    close(found.mean, stored.mean(0))
    close(found.variance, stored.var(0, correction=0))
    close(found.mean_square, stored.square().mean(0))
    assert found.count == len(stored)


def test_shape_moments_are_those_of_the_stored_array(summary_of, values):
    found, stored = summary_of(Moments(order=4), values, sizes=5), values.flatten(0, 1)
    d = stored - stored.mean(0)
    close(found.variance, d.square().mean(0))
    close(found.fourth, d.pow(4).mean(0))


def test_magnitudes_are_those_of_the_stored_array(summary_of, values):
    values = values.relu()
    found, stored = summary_of(Magnitudes(tolerance=0.01), values, sizes=5), values.flatten(0, 1)
    close(found.mean_abs, stored.abs().mean(0))
    close(found.zero_fraction, (stored.abs() <= 0.01).double().mean(0))
    assert torch.equal(found.maximum, stored.amax(0))
    assert torch.equal(found.minimum, stored.amin(0))


def test_row_moments_are_those_of_the_stored_row_means(summary_of, values):
    found, means = summary_of(RowMoments(), values, sizes=5), values.mean(1)
    close(found.mean, means.mean(0))
    close(found.mean_square, means.square().mean(0))
    close(found.abs_mean_square, values.abs().mean(1).square().mean(0))
    close(found.mean_peak, values.abs().amax(1).mean(0))
    assert found.rows == len(values)


def test_row_means_count_valid_positions_only(summary_of, values):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    found = summary_of(RowMoments(), values * valid.unsqueeze(-1), valid=valid)
    means = torch.stack([row[keep].mean(0) for row, keep in zip(values, valid, strict=True)])
    close(found.mean, means.mean(0))


@pytest.mark.parametrize("statistic", [Moments(), Moments(order=4)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "offset", "rtol"), [(torch.float64, 1e8, 1e-7), (torch.float32, 1e4, 1e-3)]
)
def test_a_large_offset_does_not_cancel_the_variance(summary_of, statistic, dtype, offset, rtol):
    random = torch.Generator().manual_seed(1)
    noise = torch.randn(64, 8, 3, generator=random, dtype=torch.float64)
    values = (noise + offset).to(dtype)
    found = summary_of(statistic, values, sizes=7)
    close(found.variance, values.double().flatten(0, 1).var(0, correction=0), rtol)


def test_offsets_that_differ_between_batches_are_exact(summary_of, values):
    drifting = values + 1e3 * torch.arange(12, dtype=torch.float64)[:, None, None]
    found = summary_of(Moments(order=4), drifting, sizes=2)
    d = drifting.flatten(0, 1) - drifting.flatten(0, 1).mean(0)
    close(found.fourth, d.pow(4).mean(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_upcast_before_it_is_squared(summary_of, dtype):
    values = torch.tensor([300.0, 400.0, 500.0], dtype=dtype).view(3, 1, 1)
    found = summary_of(Moments(), values)
    close(found.mean_square, values.double().square().mean().view(1))


def test_an_empty_fold_gives_zeros_not_nan(summary_of, values):
    found = summary_of(Moments(), values[:0])
    assert found.mean.tolist() == found.variance.tolist() == [0.0] * 5


def test_a_constant_has_no_moments_but_its_mean(summary_of):
    found = summary_of(Moments(order=4), torch.ones(4, 2, 1))
    assert (found.mean, found.variance, found.fourth) == (1.0, 0.0, 0.0)
