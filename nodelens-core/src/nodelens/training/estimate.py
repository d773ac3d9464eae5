"""Means over rows with standard errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


@frozen
class Estimate:
    """A mean and its standard error; NaN where too few rows define it."""

    value: float
    se: float

    @classmethod
    def undefined(cls) -> Estimate:
        """Return the estimate of a value that was not measured: NaN."""
        return cls(math.nan, math.nan)

    def finite(self) -> float | None:
        """Return the value for JSON and tables: None in place of NaN and infinity."""
        return self.value if math.isfinite(self.value) else None

    def finite_se(self) -> float | None:
        """Return the standard error for JSON and tables: None in place of NaN and infinity."""
        return self.se if math.isfinite(self.se) else None

    def text(self, form: str) -> str:
        """Return ``value ± se`` in a number format, without the error where it is undefined."""
        value = format(self.value, form)
        if self.finite_se() is None:
            return value
        return f"{value} ± {format(self.se, form.lstrip('+'))}"

    def percent(self) -> str:
        """Return ``value ± se %`` of a fraction."""
        return f"{Estimate(100 * self.value, 100 * self.se).text('.1f')} %"


def ratio(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> Estimate:
    """Return the sum of `sums` over the sum of `counts`, each ``(rows,)``, with rows independent.

    The standard error is the one of a ratio estimate (Cochran 1977, Sampling Techniques, ch. 6);
    with one position per row it is the standard deviation over the root of the number of rows.
    Rows without positions do not count.
    """
    rows, total = int((counts > 0).sum()), int(counts.sum())
    if total == 0:
        return Estimate.undefined()
    value = float(sums.sum() / total)
    if rows < 2 or not math.isfinite(value):
        return Estimate(value, math.nan)
    spread = float(((sums - value * counts) ** 2).sum())
    return Estimate(value, math.sqrt(spread * rows / (rows - 1)) / total)


def jackknifed(
    sums: Mapping[str, NDArray[np.float64]],
    measures: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Estimate]:
    """Return functions of sums over rows by name, with the jackknife error of leaving out a row.

    `sums` are ``(rows,)`` each; `measures` gets their totals, or one total for each left out row.
    """
    if not sums:
        return {}
    rows = len(next(iter(sums.values())))
    with np.errstate(all="ignore"):  # a measure of no labels is NaN, as it should be
        whole = measures({name: each.sum() for name, each in sums.items()})
        without = measures({name: each.sum() - each for name, each in sums.items()})
        return {name: _spread(value, without[name], rows) for name, value in whole.items()}


def _spread(value: float, without: NDArray[np.float64], rows: int) -> Estimate:
    if rows < 2 or not math.isfinite(value):
        return Estimate(float(value), math.nan)
    return Estimate(float(value), math.sqrt((rows - 1) * float(np.var(without))))
