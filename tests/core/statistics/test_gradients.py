import pytest
import torch

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
        "q4": q**4,
        "ag2": values * g**2,
    }
    for name, terms in expected.items():
        torch.testing.assert_close(getattr(found, name), terms.flatten(0, 1).mean(0))


def test_row_gradients_sum_over_positions_before_they_are_squared(summary_of, values):
    g = gradients_like(values)
    found, total = summary_of(RowGradients(), values, gradient=g), (values * g).sum(1)
    torch.testing.assert_close(found.q, total.mean(0))
    torch.testing.assert_close(found.abs_q, total.abs().mean(0))
    torch.testing.assert_close(found.q2, total.square().mean(0))
    torch.testing.assert_close(found.q4, total.pow(4).mean(0))
    torch.testing.assert_close(found.abs_mean_q, (values * g).mean(1).abs().mean(0))


def test_half_precision_products_do_not_overflow(summary_of):
    values = torch.full((2, 1, 1), 300.0, dtype=torch.float16)
    found = summary_of(GradientMoments(), values, gradient=values)
    assert found.q2.item() == pytest.approx(90000.0**2, rel=1e-7)
