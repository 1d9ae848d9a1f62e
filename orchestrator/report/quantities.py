"""A flat result row -> figures with their uncertainty, method and confidence, or the reason why one is missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.results.energy_reasons import explain
from workers.records import Confidence
from workers.records.text import one_line

Row = Mapping[str, Any]
"""One row of `results.parquet`, by column name."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value in its quantity's unit with its interval, or null with a reason."""

    value: float | None
    low: float | None = None
    """Lower end of the 95 % interval over the repeats; null if there is none."""
    high: float | None = None
    """Its upper end."""
    origin: str = ""
    """What the value and its interval are computed from."""
    meter: float = 0.0
    """Half width of the meter's own 95 % interval. It is the same in all repeats, so their interval leaves it out."""
    method: str | None = None
    confidence: Confidence | None = None
    reason: str = ""
    """Why there is no value."""

    @property
    def unstable(self) -> bool:
        """Whether the interval is wider than the figure itself."""
        if self.value is None or self.low is None or self.high is None:
            return False
        return self.high - self.low > self.value


def _failure(row: Row) -> str:
    return f"{row['status']}: {row['error_type'] or 'no error type'}: {one_line(row['error_message'] or 'no message')}"


def _no_reason(_: Row) -> str:
    return "the worker recorded neither a value nor a reason"


def _no_energy(row: Row) -> str:
    return explain(row["energy_reasons"] or ()) or f"energy method {row['energy_method'] or 'none'}, no reason recorded"


def _no_flops(row: Row) -> str:
    return row["flops_reason"] or _no_reason(row)


def _no_peak(row: Row) -> str:
    return row["peak_memory_reason"] or _no_reason(row)


def _no_perplexity(row: Row) -> str:
    return row["perplexity_reason"] or "the sweep does not measure quality"


def _no_latency(row: Row) -> str:
    return row["latency_reason"] or _no_reason(row)


def _no_later_token(row: Row) -> str:
    return "one output token: no token follows the first" if row["output_tokens"] == 1 else _no_latency(row)


PEAK_OF_PROCESS = "Peak memory on a CPU is the high-water mark of the process, which includes memory from earlier runs."


def peak_is_of_process(row: Row) -> bool:
    """Whether the peak is the resident set of a whole process, which depends on earlier runs."""
    return bool(row["memory_method"] == "process_rss")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of the results: its column, and the columns with its interval, method and confidence."""

    key: str
    title: str
    unit: str
    column: str
    share_of: str | None = None
    """The column by which the value is divided, if it is shown as a share."""
    spread: str | None = None
    """Stem of the `_over_repeats_` columns that have the value with its interval; null if there are none."""
    multiple_of: str | None = None
    """Stem of another quantity that this one is a multiple of: it has that interval, in proportion."""
    unrepeatable: Callable[[Row], bool] = lambda _: False
    """Whether the repeats do not show how certain the value is; it is then shown without their interval."""
    origin: str = ""
    """What a value without an interval is."""
    meter: str | None = None
    """The column with the meter's own uncertainty."""
    method: str | None = None
    """The column that names the method."""
    confidence: str | None = None
    """The column with the confidence."""
    why_null: Callable[[Row], str] = _no_reason

    def of(self, row: Row) -> Figure:
        """The row's figure: a value, or the reason why it is missing."""
        value = self.value(row)
        if value is None:
            return Figure(value=None, reason=_failure(row) if not row["repeats_ok"] else self.why_null(row))
        low, high, origin = self._interval(row, value)
        return Figure(
            value=value,
            low=low,
            high=high,
            origin=origin,
            meter=(row[self.meter] if self.meter else None) or 0.0,
            method=row[self.method] if self.method else None,
            confidence=row[self.confidence] if self.confidence else None,
        )

    def value(self, row: Row) -> float | None:
        """The value alone; if there is an interval, its centre."""
        value: float | None = row[self.column]
        if value is not None and self.spread:
            value = row[f"{self.spread}_over_repeats_mean"]
        if value is not None and self.share_of:
            value = value / row[self.share_of] if row[self.share_of] else None
        return value

    def _interval(self, row: Row, value: float) -> tuple[float | None, float | None, str]:
        """Both ends, and what they are computed from; without an interval, why there is none."""
        stem = self.spread or self.multiple_of
        if stem is None or self.unrepeatable(row):
            return None, None, self.origin
        mean, low, high, repeats = (
            row[f"{stem}_over_repeats_{name}"] for name in ("mean", "ci95_low", "ci95_high", "n")
        )
        if low is None or not mean:
            return None, None, "no interval: " + ("one repeat" if repeats < 2 else f"one of {repeats} repeats is zero")
        ratio = 1.0 if self.spread else value / mean
        return low * ratio, high * ratio, f"geometric mean and 95 % interval over {repeats} repeats"


THROUGHPUT = Quantity(
    key="throughput", title="Throughput", unit="tokens/s", column="output_tokens_per_s", spread="output_tokens_per_s",
    method="timing_method",
)  # fmt: skip
WITHIN_RUN = Quantity(
    key="within_run", title="Within a run", unit="± %", column="time_uncertainty",
    origin="95 % uncertainty of the mean time of a generation within one run, the largest of all runs",
    why_null=lambda _: "each run has one generation, so it shows no spread",
)  # fmt: skip
ENERGY = Quantity(
    key="energy", title="GPU energy", unit="J/token", column="energy_per_output_token_j",
    spread="energy_per_output_token_j", meter="energy_per_output_token_uncertainty_j", method="energy_method",
    confidence="energy_confidence", why_null=_no_energy,
)  # fmt: skip
METER = Quantity(
    key="meter", title="Energy meter", unit="± %", column="energy_per_output_token_uncertainty_j",
    share_of="energy_per_output_token_j",
    origin="95 % uncertainty of the meters; the interval over the repeats does not include it",
    method="energy_method", why_null=_no_energy,
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
    unrepeatable=peak_is_of_process, method="memory_method", why_null=_no_peak,
    origin="high-water mark of the whole process, which includes memory from earlier runs",
)  # fmt: skip
MODEL_MEMORY = Quantity(key="weights", title="Model memory", unit="MB", column="model_memory_mb")
FLOPS = Quantity(
    key="flops", title="FLOPs", unit="FLOP", column="flops_value", method="flops_method",
    confidence="flops_confidence", why_null=_no_flops,
)  # fmt: skip
FLOPS_PER_S = Quantity(
    key="flops_per_s", title="Achieved", unit="FLOP/s", column="flops_per_second",
    multiple_of="output_tokens_per_s", method="flops_method", confidence="flops_confidence", why_null=_no_flops,
)  # fmt: skip
MFU = Quantity(
    key="mfu", title="MFU", unit="%", column="mfu", multiple_of="output_tokens_per_s", method="flops_method",
    confidence="flops_confidence", why_null=lambda row: row["peak_source"] or _no_reason(row),
)  # fmt: skip
PERPLEXITY = Quantity(key="perplexity", title="Perplexity", unit="", column="perplexity", why_null=_no_perplexity)
