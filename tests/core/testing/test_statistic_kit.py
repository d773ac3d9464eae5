"""The kit catches statistics that are wrong in one way."""

from typing import ClassVar

import pytest
import torch
from attrs import frozen

from nodelens.interfaces.statistic import RowSums
from nodelens.statistics.rows import add_rows, row_counts, row_sum, zeros
from nodelens.testing import check_statistic, failures


@frozen
class Sums:
    """Mean of every node; right in every way."""

    reads: str = "activation"
    requires: ClassVar = frozenset()

    def floats(self, layout):
        return layout.folds * (layout.width + 1)

    def start(self, layout):
        return {"count": zeros(layout), "sum": zeros(layout, layout.width)}

    def update(self, state, reading):
        add_rows(state["count"], row_counts(reading), reading.fold)
        add_rows(state["sum"], row_sum(reading.values), reading.fold)

    def merge(self, state, other):
        for name, value in other.items():
            state[name] += value

    def summary(self, state, keep):
        return {"mean": state["sum"][keep].sum(0) / state["count"][keep].sum().clamp(min=1.0)}


@frozen
class BatchMeans(Sums):
    """It averages batch means without weights."""

    def update(self, state, reading):
        state["count"] += 1.0
        state["sum"] += reading.values.mean((0, 1))


@frozen
class CountsPadding(Sums):
    """It counts padding as data."""

    def update(self, state, reading):
        rows, positions = reading.values.shape[:2]
        add_rows(state["count"], torch.full((rows,), float(positions)).double(), reading.fold)
        add_rows(state["sum"], row_sum(reading.values), reading.fold)


@frozen
class WrongFloats(Sums):
    """It plans for too little memory."""

    def floats(self, layout):
        return layout.width


@frozen
class AlwaysCPU(Sums):
    """It ignores the device."""

    def start(self, layout):
        return {
            "count": torch.zeros(layout.folds).double(),
            "sum": torch.zeros(layout.folds, layout.width).double(),
        }


@frozen
class Single(Sums):
    """It sums in float32."""

    def start(self, layout):
        return {name: value.float() for name, value in Sums.start(self, layout).items()}

    def update(self, state, reading):
        state["count"].index_add_(0, reading.fold, row_counts(reading).float())
        state["sum"].index_add_(0, reading.fold, row_sum(reading.values).float())


@frozen
class Overwriting(Sums):
    """It changes the other state."""

    def merge(self, state, other):
        for name in state:
            other[name] += state[name]
            state[name] = other[name]


@frozen
class IgnoresFolds(Sums):
    """It sums over all folds."""

    def summary(self, state, keep):
        return {"mean": state["sum"].sum(0) / state["count"].sum().clamp(min=1.0)}


@frozen
class SecretTargets(Sums):
    """It reads labels that it did not declare."""

    def update(self, state, reading):
        assert reading.targets is not None, "no targets"
        Sums.update(self, state, reading)


@frozen
class SecretValues(Sums):
    """It says that magnitudes are all it looks at, and looks at the values."""

    row_sums: ClassVar[RowSums] = RowSums(magnitudes=True)


@frozen
class ChangesReading(Sums):
    """It centres the batch in place."""

    def update(self, state, reading):
        Sums.update(self, state, reading)
        reading.values.mul_(0.0)


def lines_of(statistic):
    """Run all checks but that of the imports: this module imports torch."""
    checks = check_statistic(statistic)
    return failures(check for check in checks if "light import" not in str(check))


def test_an_honest_statistic_passes():
    assert lines_of(Sums()) == []


@pytest.mark.parametrize(
    ("statistic", "check"),
    [
        (BatchMeans, "any order and batching"),
        (CountsPadding, "padding is invisible"),
        (WrongFloats, "floats() is what a state holds"),
        (AlwaysCPU, "device"),
        (Single, "float64 sums of half precision"),
        (Overwriting, "merge leaves the other state"),
        (IgnoresFolds, "folds"),
        (SecretTargets, "declared inputs suffice"),
        (SecretValues, "declared row sums suffice"),
        (ChangesReading, "reading unmodified"),
    ],
)
def test_a_bad_statistic_is_caught(statistic, check):
    found = lines_of(statistic())
    assert any(f": {check}: " in line for line in found), found
