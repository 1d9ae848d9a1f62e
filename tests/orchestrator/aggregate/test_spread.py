"""Mean and interval over repeats: positive figures on the scale of their logarithms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from orchestrator.aggregate.spread import spread

POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(st.lists(POSITIVE, min_size=2, max_size=12))
def test_the_mean_lies_within_its_own_interval_which_is_positive_and_finite(repeats: list[float]) -> None:
    got = spread(repeats)
    assert got.n == len(repeats)
    assert got.mean is not None
    assert got.ci95_low is not None
    assert got.ci95_high is not None
    assert 0 < got.ci95_low <= got.mean <= got.ci95_high < math.inf
    assert min(repeats) * (1 - 1e-9) <= got.mean <= max(repeats) * (1 + 1e-9) + math.ulp(0.0)


@given(POSITIVE, st.integers(2, 6))
def test_equal_repeats_are_their_own_mean_to_the_last_digit(value: float, repeats: int) -> None:
    got = spread([value] * repeats)
    assert (got.mean, got.std, got.log_std, got.ci95_low, got.ci95_high) == (value, 0.0, 0.0, value, value)


def test_mean_and_interval_are_those_of_students_t_of_the_logarithms() -> None:
    repeats = [12.0, 6.0, 8.0]
    logs = np.log(repeats)
    got = spread([*repeats, None])
    low, high = np.exp(t.interval(0.95, 2, logs.mean(), logs.std(ddof=1) / math.sqrt(3)))
    assert got.mean == pytest.approx(576 ** (1 / 3))
    assert (got.ci95_low, got.ci95_high) == (pytest.approx(low), pytest.approx(high))
    assert (got.std, got.log_std) == (pytest.approx(np.std(repeats, ddof=1)), pytest.approx(logs.std(ddof=1)))
    assert got.n == 3


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=2, max_size=6))
def test_a_rate_and_its_inverse_have_inverse_means(repeats: list[float]) -> None:
    """Tokens a second and seconds a token: an arithmetic mean of one contradicts that of the other."""
    rate, inverse = spread(repeats), spread(1 / value for value in repeats)
    assert rate.mean * inverse.mean == pytest.approx(1)
    assert rate.log_std == pytest.approx(inverse.log_std, abs=1e-12)


@given(POSITIVE)
def test_one_repeat_is_its_own_mean_and_has_no_interval(value: float) -> None:
    got = spread([value, None])
    assert (got.mean, got.std, got.log_std, got.ci95_low, got.ci95_high, got.n) == (value, None, None, None, None, 1)


def test_a_zero_among_the_repeats_leaves_their_mean_without_an_interval() -> None:
    got = spread([0.0, 3.0])
    assert (got.mean, got.log_std, got.ci95_low, got.ci95_high) == (1.5, None, None, None)
    assert got.std is not None


def test_without_a_figure_there_is_no_mean() -> None:
    assert spread([None, None]).n == 0
    assert spread([]).mean is None
