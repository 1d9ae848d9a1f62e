"""Means and percentiles over requests, worked out by hand."""

import pytest

from workers.records import Distribution


def test_each_value_counts_as_often_as_it_has_rows() -> None:
    # five requests: 1, 1, 1, 3, 9
    got = Distribution.of([9.0, 1.0, 3.0], [1, 3, 1])
    assert got.mean_s == pytest.approx(15 / 5)
    assert got.p50_s == pytest.approx(1.0)
    assert got.p90_s == pytest.approx(3 + (9 - 3) * 0.6)  # place 3.6 of 0 to 4
    assert got.p99_s == pytest.approx(3 + (9 - 3) * 0.96)


def test_one_number_of_rows_stands_for_all_values() -> None:
    # four requests: 1, 1, 2, 2; the median lies between the second and the third
    got = Distribution.of([2.0, 1.0], 2)
    assert (got.mean_s, got.p50_s) == (pytest.approx(1.5), pytest.approx(1.5))
    assert got.p90_s == pytest.approx(2.0)


def test_a_single_request_is_its_own_mean_and_percentiles() -> None:
    got = Distribution.of([0.25], 1)
    assert (got.mean_s, got.p50_s, got.p90_s, got.p99_s) == (0.25, 0.25, 0.25, 0.25)
