import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.gradients import GradientMoments, RowGradients


def gradients_like(values):
    return torch.randn(values.shape, generator=torch.Generator().manual_seed(3)).double()


def test_gradient_moments_are_those_of_the_stored_arrays(summary_of, values):
    g = gradients_like(values)
    found, q = summary_of(GradientMoments(), values, sizes=5, gradient=g), values * g
    expected = {
        "g": g,
        "g2": g**2,
        "q": q,
        "abs_q": q.abs(),
        "q2": q**2,
        "centred_q2": (values - values.mean((0, 1))) ** 2 * g**2,
    }
    for name, terms in expected.items():
        torch.testing.assert_close(getattr(found, name), terms.flatten(0, 1).mean(0))


def test_row_gradients_sum_over_positions_before_they_are_squared(summary_of, values):
    g = gradients_like(values)
    found, total = summary_of(RowGradients(), values, gradient=g), (values * g).sum(1)
    torch.testing.assert_close(found.q, total.mean(0))
    torch.testing.assert_close(found.abs_q, total.abs().mean(0))
    torch.testing.assert_close(found.q2, total.square().mean(0))
    torch.testing.assert_close(found.abs_mean_q, (values * g).mean(1).abs().mean(0))


def test_half_precision_products_do_not_overflow(summary_of):
    values = torch.full((2, 1, 1), 300.0, dtype=torch.float16)
    found = summary_of(GradientMoments(), values, gradient=values)
    assert found.q2.item() == pytest.approx(90000.0**2, rel=1e-7)


@pytest.mark.parametrize(
    ("dtype", "offset", "rtol"), [(torch.float32, 1e4, 1e-12), (torch.float64, 1e8, 1e-7)]
)
def test_a_large_offset_does_not_cancel_what_the_spread_does_to_the_loss(
    summary_of, values, dtype, offset, rtol
):
    a = (values / values.std((0, 1)) + offset).to(dtype)
    g = gradients_like(values).to(dtype)
    found = summary_of(GradientMoments(), a, sizes=5, gradient=g).centred_q2
    d = a.double() - a.double().mean((0, 1))
    expected = (d * g.double()).square().mean((0, 1))
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0.0)


def test_states_with_pivots_far_apart_merge_exactly(summary_of, values):
    a, g = values + 1e3 * torch.arange(12).div(4, rounding_mode="floor")[:, None, None], values
    statistic, keep = GradientMoments(), torch.ones(1, dtype=torch.bool)
    total = statistic.start(Layout(5, 1))
    for rows in torch.arange(12).split(4):
        part = statistic.start(Layout(5, 1))
        fold = torch.zeros(4, dtype=torch.int64)
        statistic.update(part, Reading(values=a[rows], gradient=g[rows], fold=fold))
        statistic.merge(total, part)
    expected = ((a - a.mean((0, 1))) * g).square().mean((0, 1))
    torch.testing.assert_close(statistic.summary(total, keep).centred_q2, expected)
