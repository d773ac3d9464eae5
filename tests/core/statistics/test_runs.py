"""Second powers of rows that lie side by side in memory, from raw sums where these will do."""

import pytest
import torch

from nodelens.statistics import runs, sums
from nodelens.statistics.contract import Reading, RowSums
from nodelens.statistics.rows import row_counts

OFFSETS = torch.tensor([0.0, 0.5, 1.0, 2.9, 3.1, 100.0, 30_000.0])


def images(rows=6, positions=1000, spread=1.0):
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(rows, len(OFFSETS), positions, generator=random) * spread
    return (maps + spread * OFFSETS.unsqueeze(-1)).mT


def summed(values):
    return runs.from_raw_sums(Reading(values, torch.zeros(len(values)).long()))


def shared(values):
    pivot = torch.zeros(values.shape[-1], dtype=torch.float64)
    reading = Reading(values, torch.zeros(len(values)).long(), pivot=pivot)
    first, second = sums.power_sums(reading, pivot, 2)[:2]
    mean = first / row_counts(reading).unsqueeze(-1)
    return mean, second / values.shape[1] - mean.square()


@pytest.mark.parametrize("positions", [256, 4096, 12544, 250 * 1501])
@pytest.mark.parametrize("spread", [1.0, 1e-9, 1e9])
def test_means_and_variances_of_rows_near_and_far_from_zero(positions, spread):
    values = images(positions=positions, spread=spread)
    assert runs.are_runs(values)
    mean, first, second = summed(values)
    exact = values.double()
    variance = second / positions - (first / positions).square()
    torch.testing.assert_close(
        mean + first / positions, exact.mean(1), rtol=1e-6, atol=1e-7 * spread
    )
    error = variance / exact.var(1, correction=0) - 1
    assert error.abs().max() < 1e-5
    assert error[:, :3].abs().max() < 1e-6


def test_a_row_that_cannot_be_cut_into_pieces_is_no_run():
    lengths = [255, 2048, 2053, 12544]
    runs_of = [runs.are_runs(torch.zeros(1, 2, length).mT) for length in lengths]
    assert runs_of == [False, True, False, True]
    assert not runs.are_runs(torch.zeros(1, 300, 2))
    assert not runs.are_runs(torch.zeros(1, 2, 300).double().mT)


def test_rows_far_from_zero_are_summed_about_their_own_mean(monkeypatch):
    values = images()
    wanted = values.double().var(1, correction=0)
    _, about_own = shared(values)
    torch.testing.assert_close(about_own[:, -2:], wanted[:, -2:], rtol=1e-5, atol=0.0)
    monkeypatch.setattr(runs, "NEAR", float("inf"))
    _, about_zero = shared(values)
    assert ((about_zero[:, -1] / wanted[:, -1] - 1).abs() > 0.5).any()


def test_a_row_has_the_same_sums_whatever_is_beside_it():
    values = images()
    whole = summed(values)
    for row in range(len(values)):
        alone = summed(values[row : row + 1])
        assert all(torch.equal(one[0], all_[row]) for one, all_ in zip(alone, whole, strict=True))


def test_rows_are_far_in_any_number_of_parts(monkeypatch):
    values = images()
    whole = summed(values)
    monkeypatch.setitem(sums.swept.__globals__["CHUNK"], "cpu", 1)
    parts = summed(values)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e-30, 3e38])
def test_a_row_of_one_value_has_its_mean_and_no_spread(value):
    values = torch.full((2, 3, 999), value).mT
    mean, variance = shared(values)
    exact = values[0, 0, 0].double()
    assert (mean - exact).abs().max() <= 1e-15 * exact.abs()
    assert variance.abs().max() <= 2.0**-40 * exact.square()


def test_what_float32_cannot_hold_is_summed_in_float64():
    for spread in (1e-25, 1e25):
        values = images(spread=spread)[..., :5]
        _, variance = shared(values)
        exact = values.double().var(1, correction=0)
        torch.testing.assert_close(variance, exact, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_shows_at_its_row_and_node(bad):
    values = images().clone(memory_format=torch.preserve_format)
    values[2, 500, 1] = bad
    reading = Reading(values, torch.zeros(6).long(), pivot=torch.zeros(7, dtype=torch.float64))
    sums.take(reading, RowSums(powers=2))
    found = (~sums.finite_sums(reading, gradient=False).isfinite()).nonzero().tolist()
    assert found == [[2, 1]]
