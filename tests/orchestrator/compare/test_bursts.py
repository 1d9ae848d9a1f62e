"""The gate with bursts of load of 1 to 60 s: two simulated sweeps, in the order of the backlog."""

import numpy as np
import pytest

from testbed.bursts import Burst, after_s, rates, sweep


@pytest.mark.slow
def test_bursts_of_load_fail_at_most_two_of_two_hundred_pairs() -> None:
    assert rates(np.random.default_rng(1), pairs=200, loss=0.0, every_s=300.0).false_alarms <= 0.01


@pytest.mark.slow
def test_bursts_of_load_hide_an_eight_percent_loss_in_at_most_ten_of_a_hundred_pairs() -> None:
    result = rates(np.random.default_rng(2), pairs=100, loss=0.08, every_s=300.0)
    assert result.detected >= 0.90
    assert result.false_alarms <= 0.01


def test_repeats_that_are_close_together_are_doubtful_and_do_not_fail() -> None:
    result = rates(np.random.default_rng(3), pairs=50, loss=0.08, every_s=300.0, order="as_written")
    assert (result.false_alarms, result.detected, result.doubtful) == (0.0, 0.0, 1.0)


def test_the_backlog_spreads_the_repeats_of_every_cell_over_the_sweep() -> None:
    runs = sweep("longest_first")
    assert [run.repeat for run in runs] == [repeat for repeat in range(5) for _ in range(12)]


def test_work_is_slower_during_a_burst() -> None:
    load = [Burst(10, 20, 2.0), Burst(30, 31, 4.0)]
    assert after_s(0, 10, load) == 10
    assert after_s(0, 12, load) == 14
    assert after_s(12, 1, load) == 14
    assert after_s(0, 26, load) == 31.75
