"""Figures as text: one unit for a whole column, and as many digits as the interval justifies."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from orchestrator.report.quantities import Figure, Quantity, Row

UNSTABLE = "unstable"
WHAT_TO_DO = "more repeats, a longer window or a quiet machine narrow it"
"""How to narrow an interval that is too wide."""
TO = "\u2013"
"""Stands between the ends of an interval."""
_EVEN = 0.05
"""Two arms of an interval that differ by less than this share of its half width are shown as one number."""
_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One unit for a whole column, so that its figures compare at a glance."""

    factor: float
    unit: str

    def text(self, figure: Figure, *, bounds: bool = True) -> str:
        """The figure with its interval, in this scale's unit; empty if it has no value.

        Args:
            figure: The figure to format.
            bounds: Show both ends of an asymmetric interval; if false, its longer arm as a share of the value.
        """
        if figure.value is None:
            return ""
        value = figure.value * self.factor
        if figure.low is None or figure.high is None:
            return _decimals(value, _places(value, 3))
        if figure.unstable:
            return f"{_decimals(value, _places(value, 2))} {UNSTABLE}"
        return with_interval(value, figure.low * self.factor, figure.high * self.factor, bounds=bounds)


def scale(quantity: Quantity, rows: Iterable[Row]) -> Scale:
    """The SI prefix that fits the column's median. MB, tokens/s and pure numbers keep their unit."""
    if "%" in quantity.unit:
        return Scale(factor=100.0, unit=quantity.unit)
    if quantity.unit in ("", "MB", "tokens/s"):
        return Scale(factor=1.0, unit=quantity.unit)
    values = [value for row in rows if (value := quantity.value(row))]
    middle = median(values) if values else 1.0
    size, prefix = next((step for step in _STEPS if middle >= step[0]), _STEPS[-1])
    return Scale(factor=1 / size, unit=prefix + quantity.unit)


def count_cells(count: int) -> str:
    """`1 cell`, `8 cells`."""
    return f"{count} cell{'' if count == 1 else 's'}"


def with_interval(value: float, low: float, high: float, *, bounds: bool = True) -> str:
    """`12.34 ± 0.25`; if the arms differ, `12.3 [9.8 to 15.5]` with a dash, or the shorter `12.3 ±26%`.

    The uncertainty has one significant digit, or two below 3.55 (the Particle Data Group's rule).
    """
    up, down, half = high - value, value - low, (high - low) / 2
    if not half:
        return _decimals(value, _places(value, 3))
    places = _places(half, 2 if float(f"{half:e}".split("e")[0]) < 3.55 else 1)
    if up - down < _EVEN * half or _decimals(up, places) == _decimals(down, places):
        return f"{_decimals(value, places)} ± {_decimals(half, places)}"
    if not bounds:
        return f"{_decimals(value, places)} ±{up / value:.0%}"
    return f"{_decimals(value, places)} [{_decimals(low, places)}{TO}{_decimals(high, places)}]"


def _places(value: float, significant: int) -> int:
    """Decimal places for that many significant digits; never negative, so that no digit before the point is rounded."""
    return max(0, significant - 1 - math.floor(math.log10(abs(value)))) if value else 0


def _decimals(value: float, places: int) -> str:
    return f"{value:,.{places}f}"
