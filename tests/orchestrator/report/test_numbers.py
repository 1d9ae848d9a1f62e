import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import testbed.report_sweeps as sweeps
from orchestrator.aggregate.spread import spread
from orchestrator.report import numbers, quantities
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult

PLAIN = numbers.Scale(factor=1.0, unit="tokens/s")


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (12.3456, 12.0946, 12.5966, "12.35 ± 0.25"),
        (12.3456, 11.7946, 12.8966, "12.3 ± 0.6"),
        (1234.5, 1210.4, 1258.6, "1,234 ± 24"),
        (0.044219, 0.042899, 0.045539, "0.0442 ± 0.0013"),
        (320.0, 237.3, 431.6, "320 [237\u2013432]"),
        (100.0, 91.0, 109.9, "100 [91\u2013110]"),
        (43913.0, 43838.6, 43987.5, "43,913 ± 74"),
        (551.662, 551.662, 551.662, "552"),
    ],
)
def test_the_uncertainty_decides_how_many_digits_are_shown(value: float, low: float, high: float, text: str) -> None:
    assert numbers.with_interval(value, low, high) == text


def test_without_bounds_an_asymmetric_interval_is_its_longer_arm() -> None:
    assert numbers.with_interval(320.0, 237.3, 431.6, bounds=False) == "320 ±35%"
    assert numbers.with_interval(12.3456, 12.0946, 12.5966, bounds=False) == "12.35 ± 0.25"


@pytest.mark.parametrize(("value", "text"), [(12.3456, "12.3"), (4115.2, "4,115"), (0.000318, "0.000318"), (0.0, "0")])
def test_without_an_interval_three_digits_are_shown(value: float, text: str) -> None:
    assert PLAIN.text(quantities.Figure(value=value)) == text


def test_an_interval_wider_than_its_value_is_called_unstable() -> None:
    assert PLAIN.text(quantities.Figure(value=43.0, low=5.1, high=361.0)) == "43 unstable"


@given(st.lists(st.floats(min_value=1e-3, max_value=1e9), min_size=2, max_size=6))
def test_the_shown_interval_is_always_around_the_shown_value(repeats: list[float]) -> None:
    one = spread(repeats)
    text = PLAIN.text(quantities.Figure(value=one.mean, low=one.ci95_low, high=one.ci95_high)).replace(",", "")
    if text.endswith("unstable"):
        assert one.ci95_high - one.ci95_low > one.mean
    elif "±" in text:
        value, half = map(float, text.split(" ± "))
        assert 0 <= half < value
    elif "[" in text:
        value, ends = text.rstrip("]").split(" [")
        low, high = map(float, ends.split(numbers.TO))
        assert 0 < low <= float(value) <= high
    else:
        assert math.isclose(one.ci95_low, one.ci95_high)


def test_a_column_has_one_unit_that_fits_its_median() -> None:
    rows = table(AggregatedResult, sweeps.gpu_sweep()).to_pylist()
    assert numbers.scale(quantities.TTFT, rows).unit == "ms"
    assert numbers.scale(quantities.FLOPS, rows).unit == "TFLOP"
    assert numbers.scale(quantities.THROUGHPUT, rows).unit == "tokens/s"
    none = table(AggregatedResult, sweeps.cpu_sweep()).to_pylist()
    assert numbers.scale(quantities.ENERGY, none).unit == "J/token", "without values, the unit has no prefix"
