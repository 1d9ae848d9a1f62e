import numpy as np
import pytest
from scipy import stats

from workers.records import Window
from workers.window import MeanTime, may_end


def times(*durations: float) -> MeanTime:
    seen = MeanTime()
    for duration in durations:
        seen.add(duration)
    return seen


def test_the_uncertainty_is_students_interval_of_the_mean() -> None:
    values = [1.0, 1.1, 0.9, 1.3, 1.05]
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert times(*values).relative_uncertainty == pytest.approx((high - low) / 2 / np.mean(values), rel=1e-12)


def test_with_three_generations_it_uses_the_published_quantile() -> None:
    # t(0.975; 2) = 4.303 in every printed table
    assert times(0.9, 1.0, 1.1).relative_uncertainty == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)


def test_one_generation_has_no_uncertainty() -> None:
    assert times(1.0).relative_uncertainty is None


def test_the_interval_covers_the_true_mean_in_95_of_100_windows() -> None:
    draws = np.random.default_rng(7).normal(1.0, 0.05, size=(2000, 4))
    seen = [times(*row) for row in draws]
    covered = sum(abs(s.mean_s - 1.0) <= s.relative_uncertainty * s.mean_s for s in seen)
    assert 0.93 < covered / len(seen) < 0.97


def test_a_window_does_not_end_before_its_first_generation_whatever_the_caps() -> None:
    assert not may_end(Window(max_s=1e-9, min_generations=1, max_generations=1), MeanTime())


def test_it_ends_once_time_is_certain_enough() -> None:
    rule = Window(relative_uncertainty=0.02, min_generations=3)
    assert not may_end(rule, times(1.0, 1.0))
    assert may_end(rule, times(1.0, 1.0, 1.0))
    assert not may_end(rule, times(1.0, 1.5, 1.0))


def test_uncertain_energy_keeps_it_open() -> None:
    rule = Window(relative_uncertainty=0.02, min_generations=3)
    assert not may_end(rule, times(1.0, 1.0, 1.0), energy_uncertainty=0.05)
    assert may_end(rule, times(1.0, 1.0, 1.0), energy_uncertainty=0.01)


def test_a_cap_ends_it_however_uncertain() -> None:
    assert may_end(Window(max_generations=2), times(1.0, 9.0), energy_uncertainty=1.0)
    assert may_end(Window(max_s=10.0), times(1.0, 9.0))
    assert not may_end(Window(max_s=10.1), times(1.0, 9.0))
