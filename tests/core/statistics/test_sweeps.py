"""Readings are worked on in parts: of rows, and of nodes where one row is large."""

import pytest
import torch

from nodelens.statistics import sums, sweeps
from nodelens.statistics.contract import Reading


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


def test_higher_powers_answer_for_lower_ones(reading):
    pivot = torch.zeros(10, dtype=torch.float64)
    assert len(sums.power_sums(reading, pivot, 2)) == 2
    four = sums.power_sums(reading, pivot, 4)
    assert sums.power_sums(reading, pivot, 2) is four


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


def vars_of(reading):
    return {name: getattr(reading, name) for name in ("values", "gradient", "fold", "valid")}
