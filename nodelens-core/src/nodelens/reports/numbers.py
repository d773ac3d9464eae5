"""Numbers as text for readers: few digits, real minus signs, errors beside values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodelens.findings.finding import Cell

MINUS = "−"
MISSING = "–"
_THIN = "\u202f"
_DIGITS = 4
_HUGE = 1e7
_MOST_PLACES = 6


def number(value: float, digits: int = _DIGITS) -> str:
    """Return a number with at most `digits` significant digits; integers whole."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < _HUGE):
        return _whole(int(value))
    text = _fixed(value, _decimals(abs(value), digits))
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def with_error(value: float, error: float) -> str:
    """Return ``value ± error``, both to the second significant digit of the error."""
    if error <= 0 or not math.isfinite(error):
        return f"{number(value)} ± {number(error)}"
    places = _decimals(error, 2)
    return f"{_plain(value, places)} ± {_plain(error, places)}"


def seconds(value: float) -> str:
    """Return a duration as ``40 ms``, ``1.5 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if value < 1:
        return f"{value * 1000:.0f}{_THIN}ms"
    if value < 10:
        return f"{value:.1f}{_THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{_THIN}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{_THIN}min {rest}{_THIN}s"
    return f"{minutes // 60}{_THIN}h {minutes % 60}{_THIN}min"


def column(cells: Sequence[Cell]) -> list[str]:
    """Return the cells of one column as texts, floats with the same number of decimals."""
    floats = [abs(cell) for cell in cells if isinstance(cell, float) and math.isfinite(cell)]
    places = _decimals(max(floats, default=0.0), _DIGITS)
    exact = (count for count in range(places) if all(round(v, count) == v for v in floats))
    places = next(exact, places)
    return [_cell(cell, places) for cell in cells]


def is_number(cell: Cell) -> bool:
    """Return whether a cell is a number; booleans are not."""
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: Cell, places: int) -> str:
    if cell is None:
        return MISSING
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return _whole(cell)
    return _fixed(cell, places) if isinstance(cell, float) else cell


def _decimals(size: float, digits: int) -> int:
    """Return the decimals that show `digits` significant digits of a number of a given size."""
    if size == 0 or not math.isfinite(size):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(size)))


def _fixed(value: float, places: int) -> str:
    """Return a number with `places` decimals, or with two digits where these would show none."""
    if value and abs(value) < 10.0 ** (1 - places):
        return _short(value, 2)
    return _plain(value, places)


def _plain(value: float, places: int) -> str:
    if value == 0:
        return "0"
    if not math.isfinite(value) or abs(value) >= _HUGE or places > _MOST_PLACES:
        return _short(value, 3)
    return f"{value:.{places}f}".replace("-", MINUS)


def _short(value: float, digits: int) -> str:
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    text = f"{mantissa}e{int(power)}" if power else mantissa
    return text.replace("-", MINUS)


def _whole(value: int) -> str:
    digits = f"{abs(value):,}".replace(",", _THIN) if abs(value) >= 10_000 else str(abs(value))
    return (MINUS if value < 0 else "") + digits
