"""Readings are worked on in parts: of rows, and of nodes where one row is large."""

import pytest
import torch
from attrs import evolve

from nodelens.interfaces.statistic import Reading, RowSums
from nodelens.statistics import rows, sums, sweeps


@pytest.fixture
def reading():
    random = torch.Generator().manual_seed(0)
    values, gradient = torch.randn(2, 7, 6, 10, generator=random, dtype=torch.float64)
    valid = torch.rand(7, 6, generator=random) < 0.7
    values, gradient = (each * valid.unsqueeze(-1) for each in (values, gradient))
    return Reading(values=values, gradient=gradient, fold=torch.zeros(7).long(), valid=valid)


@pytest.mark.parametrize("chunk", [1, 20, 60, 100, 200, 10_000])
def test_the_size_of_the_parts_changes_nothing(monkeypatch, reading, chunk):
    monkeypatch.setattr(sweeps, "CHUNK", {"cpu": chunk})
    a, pivot, valid = reading.values, torch.linspace(-1, 1, 10).double(), reading.valid
    d = (a - pivot) * valid.unsqueeze(-1)
    found = sums.power_sums(reading, pivot, 4)
    for power, total in enumerate(found, start=1):
        torch.testing.assert_close(total, d.pow(power).sum(1))
    torch.testing.assert_close(sums.absolute_sums(reading), a.abs().sum(1))
    torch.testing.assert_close(sums.gate_sums(reading), (a * reading.gradient).sum(1))
    small = ((a.abs() <= 0.5) & valid.unsqueeze(-1)).sum(1).double()
    assert torch.equal(sums.small_counts(reading, 0.5), small)
    high, low = sums.extremes(reading)
    assert torch.equal(high, a.masked_fill(~valid.unsqueeze(-1), -torch.inf).amax(1))
    assert torch.equal(low, a.masked_fill(~valid.unsqueeze(-1), torch.inf).amin(1))


def powers_of(values, pivot, order, valid=None):
    fold = torch.zeros(len(values)).long()
    found = sums.power_sums(Reading(values=values, fold=fold, valid=valid), pivot, order)
    d = values.double() - pivot
    kept = d if valid is None else d * valid.unsqueeze(-1)
    return found, [kept.pow(power).sum(1) for power in range(1, order + 1)], kept


SCALES = (1.0, 1e-30, 1e-25, 1e-20, 1e-9, 1e9, 1e18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_long_rows_of_float32_lose_nothing_that_float64_has(dtype, scale, order, padded):
    random = torch.Generator().manual_seed(0)
    values = ((torch.randn(5, 400, 6, generator=random) + 3.0) * scale).to(dtype)
    valid = torch.rand(5, 400, generator=random) < 0.7 if padded else None
    values = values if valid is None else values * valid.unsqueeze(-1)
    pivot = torch.linspace(-2, 4, 6).double() * scale
    found, wanted, d = powers_of(values, pivot, order, valid)
    for power, (one, other) in enumerate(zip(found, wanted, strict=True), start=1):
        error = (one - other).abs() / d.abs().pow(power).sum(1)
        assert error.max() < 1e-6, f"power {power}"


def test_the_spread_of_a_row_far_from_the_pivot_is_not_lost():
    random = torch.Generator().manual_seed(0)
    values = torch.randn(3, 1000, 4, generator=random) + 20_000.0
    found, _, _ = powers_of(values, torch.zeros(4).double(), 2)
    mean = found[0] / 1000
    variance = found[1] / 1000 - mean.square()
    torch.testing.assert_close(variance, values.double().var(1, correction=0), rtol=1e-5, atol=0.0)


def test_a_row_of_one_value_has_no_spread_wherever_the_pivot_is():
    values = torch.full((2, 1000, 3), 0.1)
    found, _, _ = powers_of(values, torch.tensor([0.0, 0.1, 70.0]).double(), 2)
    mean = found[0] / 1000
    spread = (found[1] / 1000 - mean.square()).abs() / mean.square().clamp(min=1e-300)
    assert (spread.where(found[1] > 0, 0.0) < 2.0**-40).all()


@pytest.mark.parametrize("tiny", [1e-19, 1e-22, 1e-25, 1e-30])
def test_a_tiny_node_beside_others_keeps_its_spread(tiny):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(4, 64, 3, generator=random)
    values[..., 1] *= tiny
    for order in (2, 4):
        found, wanted, _ = powers_of(values, values.double().mean((0, 1)), order)
        torch.testing.assert_close(found[1], wanted[1], rtol=1e-5, atol=0.0)


def test_sums_of_magnitudes_are_exact_to_the_spread():
    random = torch.Generator().manual_seed(0)
    values = torch.randn(4, 600, 3, generator=random) * 1e-3 + 100.0
    wanted = values.double().sum(1)
    for small in (False, True):
        reading = Reading(values=values, fold=torch.zeros(4).long())
        if small:
            sums.small_counts(reading, 0.0)
        torch.testing.assert_close(sums.absolute_sums(reading), wanted, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("value", [0.1, -0.3])
def test_magnitudes_of_a_row_of_one_value_have_no_rounding(value):
    values = torch.full((2, 999, 3), value)
    pivot = torch.zeros(3, dtype=torch.float64)
    reading = Reading(values=values, fold=torch.zeros(2).long(), pivot=pivot)
    sums.take(reading, RowSums(powers=2, magnitudes=True))
    wanted = abs(values[0, 0, 0].double()) * 999
    assert (sums.absolute_sums(reading) / wanted - 1.0).abs().max() < 1e-15


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("offset", [0.0, 0.5, -20.0])
def test_magnitudes_about_the_mean_of_a_row(padded, offset):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(4, 600, 3, generator=random) + offset
    valid = torch.rand(4, 600, generator=random) < 0.7 if padded else None
    values = values if valid is None else values * valid.unsqueeze(-1)
    pivot, fold = torch.zeros(3, dtype=torch.float64), torch.zeros(4).long()
    reading = Reading(values=values, fold=fold, valid=valid, pivot=pivot)
    sums.take(reading, RowSums(powers=2, magnitudes=True))
    wanted = values.double().abs().sum(1)
    torch.testing.assert_close(sums.absolute_sums(reading), wanted, rtol=3e-7, atol=0.0)


def test_magnitudes_near_the_end_of_float32_do_not_overflow():
    reading = Reading(values=torch.full((2, 100, 3), 2e38), fold=torch.zeros(2).long())
    wanted = reading.values.double().sum(1)
    torch.testing.assert_close(sums.absolute_sums(reading), wanted)
    small = Reading(values=reading.values, fold=reading.fold)
    sums.small_counts(small, 0.0)
    torch.testing.assert_close(sums.absolute_sums(small), wanted)


def test_higher_powers_answer_for_lower_ones(reading):
    pivot = torch.zeros(10, dtype=torch.float64)
    reading = evolve(reading, pivot=pivot)
    assert len(sums.power_sums(reading, pivot, 2)) == 2
    four = sums.power_sums(reading, pivot, 4)
    assert len(four) == 4
    assert sums.power_sums(reading, pivot, 2) is four


def test_higher_powers_beyond_float32_take_the_place_of_lower_ones():
    random = torch.Generator().manual_seed(0)
    values = torch.randn(2, 20, 3, generator=random) * 1e10
    pivot = torch.zeros(3, dtype=torch.float64)
    reading = Reading(values=values, fold=torch.zeros(2).long(), pivot=pivot)
    sums.take(reading, RowSums(powers=2))
    found = sums.power_sums(reading, pivot, 4)
    assert len(found) == 4
    torch.testing.assert_close(found[3], values.double().pow(4).sum(1))


def test_whole_numbers_are_summed_as_they_are():
    values = torch.arange(120).view(2, 20, 3)
    pivot = torch.zeros(3, dtype=torch.float64)
    reading = Reading(values=values.int(), fold=torch.zeros(2).long(), pivot=pivot)
    assert torch.equal(sums.power_sums(reading, pivot, 2)[1], values.double().square().sum(1))


@pytest.mark.parametrize("length", [3, 40])
def test_sums_about_another_pivot_are_moved_there(length):
    random = torch.Generator().manual_seed(0)
    values, fold = torch.randn(5, length, 4, generator=random), torch.zeros(5).long()
    valid = torch.rand(5, length, generator=random) < 0.7
    values = values * valid.unsqueeze(-1)
    own, other = torch.randn(2, 4, generator=random, dtype=torch.float64)
    near = Reading(values=values, fold=fold, valid=valid, pivot=own)
    sums.take(near, RowSums(powers=4))
    d = (values.double() - other) * valid.unsqueeze(-1)
    for power, total in enumerate(sums.power_sums(near, other, 4), start=1):
        torch.testing.assert_close(total, d.pow(power).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", [5, 50])
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_everything_asked_for_is_taken_in_one_sweep(monkeypatch, positions, order, dtype):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(3, positions, 4, generator=random).to(dtype)
    before = values.clone()
    pivot = torch.zeros(4, dtype=torch.float64)
    reading = Reading(values=values, fold=torch.zeros(3).long(), pivot=pivot)
    sweeps_done = []

    def counted(reading, terms):
        sweeps_done.append(reading)
        return sweeps.swept(reading, terms)

    monkeypatch.setattr(sums, "swept", counted)
    tolerances = frozenset({0.1, 0.5, 2.0})
    sums.take(reading, RowSums(powers=order, magnitudes=True, small=tolerances))
    powers, total = sums.power_sums(reading, pivot, 2), sums.absolute_sums(reading)
    high, low = sums.extremes(reading)
    sums.finite_sums(reading, gradient=False)
    for tolerance in tolerances:
        wanted = (values.abs() <= tolerance).sum(1).double()
        assert torch.equal(sums.small_counts(reading, tolerance), wanted)
    assert len(sweeps_done) == 1
    assert torch.equal(values, before)
    exact = values.double()
    assert torch.equal(high, exact.amax(1))
    assert torch.equal(low, exact.amin(1))
    torch.testing.assert_close(total, exact.abs().sum(1), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(powers[0], exact.sum(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(powers[1], exact.square().sum(1), rtol=1e-6, atol=0.0)


def test_no_rows_give_no_sums():
    empty = Reading(values=torch.ones(0, 3, 4), fold=torch.zeros(0).long())
    assert sums.absolute_sums(empty).shape == (0, 4)


def test_sums_of_several_sites_are_those_of_their_positions_together(reading):
    pivot = torch.zeros(10, dtype=torch.float64)
    parts = []
    for positions in (slice(0, 2), slice(2, 6)):
        part = Reading(
            values=reading.values[:, positions],
            gradient=reading.gradient[:, positions],
            fold=reading.fold,
            valid=reading.valid[:, positions],
        )
        sums.small_counts(part, 0.0)
        sums.power_sums(part, pivot, 2)
        sums.gate_sums(part)
        parts.append(part)
    found = sums.joined_sums(parts)
    together = Reading(**{**vars_of(reading), "shared": found})
    torch.testing.assert_close(sums.absolute_sums(together), sums.absolute_sums(reading))
    torch.testing.assert_close(sums.gate_sums(together), sums.gate_sums(reading))
    assert torch.equal(sums.extremes(together)[0], sums.extremes(reading)[0])
    torch.testing.assert_close(
        sums.power_sums(together, pivot, 2)[1], sums.power_sums(reading, pivot, 2)[1]
    )


def test_what_only_one_site_has_is_not_shared(reading):
    other = Reading(values=reading.values, fold=reading.fold)
    sums.absolute_sums(reading)
    assert sums.joined_sums([reading, other]) == {}


def test_counts_and_folds_go_with_the_sums_of_several_sites(reading):
    pivot = torch.zeros(10, dtype=torch.float64)
    parts = [evolve(reading, pivot=pivot, shared={}) for _ in range(3)]
    for part in parts:
        sums.take(part, RowSums(powers=2))
        rows.row_counts(part)
        part.members(2)
    found = sums.joined_sums(parts)
    assert torch.equal(found["counts"][0], 3.0 * reading.valid.sum(1))
    assert torch.equal(found["members", 2][0], reading.members(2))


def vars_of(reading):
    return {name: getattr(reading, name) for name in ("values", "gradient", "fold", "valid")}
