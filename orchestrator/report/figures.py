"""A flat result row -> figures that carry their uncertainty, method, confidence, or the reason why there is none."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.energy_reasons import spelled
from workers.records import Confidence

Row = Mapping[str, Any]
"""One row of `results.parquet`, by column name."""

_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value in its quantity's unit, or null with a reason."""

    value: float | None
    half_width: float | None = None
    """Half width of the 95 % interval; null where there is none."""
    basis: str = ""
    """What the interval is over."""
    method: str | None = None
    confidence: Confidence | None = None
    reason: str = ""
    """Why there is no value."""


def _failure(row: Row) -> str:
    return f"{row['status']}: {row['error_type'] or 'no error type'}: {one_line(row['error_message'] or 'no message')}"


def _nothing_said(_: Row) -> str:
    return "the worker gave neither a figure nor a reason"


def _no_energy(row: Row) -> str:
    return spelled(row["energy_reasons"] or ()) or f"energy method {row['energy_method'] or 'none'}, no reason given"


def _no_flops(row: Row) -> str:
    return row["flops_reason"] or _nothing_said(row)


def _no_perplexity(row: Row) -> str:
    return row["perplexity_reason"] or "the sweep asks for no quality"


def _no_latency(row: Row) -> str:
    return row["latency_reason"] or _nothing_said(row)


def _no_later_token(row: Row) -> str:
    return "one output token: there is none after the first" if row["output_tokens"] == 1 else _no_latency(row)


def _time_half_width(row: Row) -> float | None:
    """The window's own uncertainty is relative and of time; for a rate it is the same share to first order."""
    share, rate = row["time_uncertainty"], row["output_tokens_per_s"]
    return None if share is None or rate is None else share * rate


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One kind of figure: which column it is in, and what stands around it there."""

    key: str
    title: str
    unit: str
    column: str
    spread: str | None = None
    """Stem of the `_over_repeats_` columns; null where the repeats are not laid side by side."""
    within: Callable[[Row], float | None] = lambda _: None
    """Half width of the 95 % interval that the window or the meter itself gives."""
    within_basis: str = ""
    method: str | None = None
    """The column that names the method."""
    confidence: str | None = None
    """The column that grades it."""
    why_null: Callable[[Row], str] = _nothing_said

    def of(self, row: Row) -> Figure:
        """The row's figure. Of repeats and meter, the wider interval stands: neither knows the other's errors."""
        value = row[self.column]
        if value is None:
            return Figure(value=None, reason=_failure(row) if not row["repeats_ok"] else self.why_null(row))
        widths = [(self.within(row), self.within_basis), self._over_repeats(row)]
        half_width, basis = max(((w, b) for w, b in widths if w is not None), default=(None, ""))
        return Figure(
            value=value,
            half_width=half_width,
            basis=basis,
            method=row[self.method] if self.method else None,
            confidence=row[self.confidence] if self.confidence else None,
        )

    def _over_repeats(self, row: Row) -> tuple[float | None, str]:
        if self.spread is None or row[f"{self.spread}_over_repeats_ci95_low"] is None:
            return None, ""
        low, high = row[f"{self.spread}_over_repeats_ci95_low"], row[f"{self.spread}_over_repeats_ci95_high"]
        return (high - low) / 2, f"over {row[f'{self.spread}_over_repeats_n']} repeats"


THROUGHPUT = Quantity(
    key="throughput", title="Throughput", unit="tokens/s", column="output_tokens_per_s", spread="output_tokens_per_s",
    within=_time_half_width, within_basis="over the generations of the window", method="timing_method",
)  # fmt: skip
ENERGY = Quantity(
    key="energy", title="GPU energy", unit="J/token", column="energy_per_output_token_j",
    spread="energy_per_output_token_j", within=lambda row: row["energy_per_output_token_uncertainty_j"],
    within_basis="from the meters", method="energy_method", confidence="energy_confidence", why_null=_no_energy,
)  # fmt: skip
TTFT = Quantity(
    key="ttft", title="TTFT", unit="s", column="ttft_mean_s", spread="ttft_s", method="timing_method",
    why_null=_no_latency,
)  # fmt: skip
TPOT = Quantity(
    key="tpot", title="TPOT", unit="s", column="tpot_mean_s", spread="tpot_s", method="timing_method",
    why_null=_no_later_token,
)  # fmt: skip
E2E = Quantity(
    key="e2e", title="E2E", unit="s", column="e2e_mean_s", spread="e2e_s", method="timing_method"
)  # fmt: skip
PEAK_MEMORY = Quantity(
    key="memory", title="Peak memory", unit="MB", column="peak_memory_mb", spread="peak_memory_mb",
    method="memory_method",
)  # fmt: skip
MODEL_MEMORY = Quantity(key="weights", title="Model memory", unit="MB", column="model_memory_mb")
FLOPS = Quantity(
    key="flops", title="FLOPs", unit="FLOP", column="flops_value", method="flops_method",
    confidence="flops_confidence", why_null=_no_flops,
)  # fmt: skip
FLOPS_PER_S = Quantity(
    key="flops_per_s", title="Achieved", unit="FLOP/s", column="flops_per_second", method="flops_method",
    confidence="flops_confidence", why_null=_no_flops,
)  # fmt: skip
MFU = Quantity(
    key="mfu", title="MFU", unit="%", column="mfu", method="flops_method", confidence="flops_confidence",
    why_null=lambda row: row["peak_source"] or _nothing_said(row),
)  # fmt: skip
PERPLEXITY = Quantity(key="perplexity", title="Perplexity", unit="", column="perplexity", why_null=_no_perplexity)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One unit for a whole column, so that its figures compare at a glance."""

    factor: float
    unit: str

    def number(self, value: float, half_width: float | None = None) -> str:
        """`value`, and its half width where there is one, in this scale's unit."""
        return with_width(value * self.factor, None if half_width is None else half_width * self.factor)


def scale(quantity: Quantity, rows: Iterable[Row]) -> Scale:
    """The SI prefix that fits the column's middle figure. MB, tokens/s and pure numbers keep their unit."""
    if quantity.unit == "%":
        return Scale(factor=100.0, unit="%")
    if quantity.unit in ("", "MB", "tokens/s"):
        return Scale(factor=1.0, unit=quantity.unit)
    figures = [row[quantity.column] for row in rows if row[quantity.column]]
    middle = median(figures) if figures else 1.0
    size, prefix = next((step for step in _STEPS if middle >= step[0]), _STEPS[-1])
    return Scale(factor=1 / size, unit=prefix + quantity.unit)


def with_width(value: float, half_width: float | None) -> str:
    """`12.34 ± 0.25`: the uncertainty's first digit decides, with a second under 3.55 (the Particle Data Group's rule).

    Without an uncertainty, three digits of the value.
    """
    if not half_width:
        return _decimals(value, _digits(value, 3))
    places = _digits(half_width, 2 if float(f"{half_width:e}".split("e")[0]) < 3.55 else 1)
    return f"{_decimals(value, places)} ± {_decimals(half_width, places)}"


def _digits(value: float, significant: int) -> int:
    """Decimal places that show so many significant digits; never negative: no digit before the point is hidden."""
    return max(0, significant - 1 - math.floor(math.log10(abs(value)))) if value else 0


def _decimals(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def one_line(text: str) -> str:
    """Foreign text with its line breaks and runs of blanks made one blank each."""
    return " ".join(text.split())
