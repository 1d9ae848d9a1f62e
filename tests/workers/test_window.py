from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from workers.energy import EnergyMeter
from workers.engines.transformers.clock import TokenTimes
from workers.engines.transformers.memory import PeakMemory
from workers.records import Window
from workers.window import MeanTime, may_end, measure_window


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


def test_a_window_does_not_end_before_its_first_generation_whatever_the_limits() -> None:
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


def test_a_limit_ends_it_whatever_the_uncertainty() -> None:
    assert may_end(Window(max_generations=2), times(1.0, 9.0), energy_uncertainty=1.0)
    assert may_end(Window(max_s=10.0), times(1.0, 9.0))
    assert not may_end(Window(max_s=10.1), times(1.0, 9.0))


def test_the_window_contains_only_generations_and_the_last_wait_for_the_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Clock:
        now_s = 100.0

        def time(self) -> float:
            return 1e9 + self.now_s

        def perf_counter(self) -> float:
            return self.now_s

        def passes(self, seconds: float) -> None:
            self.now_s += seconds

    clock = Clock()
    monkeypatch.setattr("workers.window.unix_time", clock.time)
    monkeypatch.setattr("workers.window.perf_counter", clock.perf_counter)
    durations = iter([1.0, 1.25, 1.0])

    def generate() -> TokenTimes:
        clock.passes(duration_s := next(durations))
        return TokenTimes(e2e_s=duration_s, token_s=(duration_s,))

    window = measure_window(
        generate,
        Window(max_generations=3, relative_uncertainty=1e-9),
        meter=EnergyMeter([], powercap=tmp_path),
        peak=PeakMemory(()),
        synchronize=lambda: clock.passes(0.5),
        barrier=lambda: clock.passes(60.0),
    )
    assert window.window_s == 1.0 + 1.25 + 1.0 + 0.5
    assert window.end_unix_s - window.start_unix_s == window.window_s
    assert window.opened_after_barrier_s == 0.0


def test_generations_of_no_time_have_no_relative_uncertainty() -> None:
    assert times(0.0, 0.0).relative_uncertainty is None
    assert times(0.5, 0.5).relative_uncertainty == 0.0


def test_mean_and_total_are_those_of_all_generations() -> None:
    seen = times(0.25, 0.5, 1.5)
    assert (seen.count, seen.mean_s, seen.total_s) == (3, 0.75, 2.25)


def test_an_uncertainty_as_large_as_asked_for_is_enough() -> None:
    rule = Window(relative_uncertainty=0.02, min_generations=2)
    assert may_end(rule, times(1.0, 1.0), energy_uncertainty=0.02)
    seen = times(0.9, 1.0, 1.1)
    assert may_end(Window(relative_uncertainty=seen.relative_uncertainty, min_generations=3), seen)
