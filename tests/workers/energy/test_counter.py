"""The mathematics of the bracket, on explicit steps."""

import math
from collections.abc import Callable

import pytest

from workers.energy.counter import (
    CounterResetError,
    Estimate,
    Level,
    Step,
    Tail,
    Track,
    energy_between,
    period_s,
    resolution_j,
    step_before,
)

IDLE_W, BUSY_W = 60.0, 350.0
START_S, END_S = 10.0, 10.25
LEVELS = [(START_S, IDLE_W), (END_S, BUSY_W), (math.inf, IDLE_W)]


def energy_up_to(at_s: float, levels: list[tuple[float, float]] = LEVELS) -> float:
    """Energy drawn since 0 by power that is `levels[i][1]` until `levels[i][0]`. Unit: J."""
    total, since = 0.0, 0.0
    for until, watts in levels:
        total += watts * max(0.0, min(at_s, until) - since)
        since = min(at_s, until)
    return total


def track(first_s: float, last_s: float, *, phase_s: float, lag_s: float, energy: Callable[[float], float]) -> Track:
    """The readings, every 2 ms, of a counter that steps every 100 ms."""
    readings = Track()
    for i in range(round((last_s - first_s) / 0.002)):
        at = first_s + i * 0.002
        step = math.floor((at - phase_s) / 0.1) * 0.1 + phase_s
        readings.add(at, at, energy(step - lag_s))
    return readings


def measured(
    *, phase_s: float = 0.03, lag_s: float = 0.0, energy: Callable[[float], float] = energy_up_to, powers: bool = True
) -> Estimate:
    """The estimate of the window from `START_S` to `END_S`."""
    before = track(9.5, START_S, phase_s=phase_s, lag_s=lag_s, energy=energy)
    after = track(END_S, 10.95, phase_s=phase_s, lag_s=lag_s, energy=energy)
    first, last = before.level(), after.level()
    assert first is not None
    assert last is not None
    tail_step = math.floor((END_S - phase_s) / 0.1) * 0.1 + phase_s
    polled = [(END_S + i * 0.002, energy(END_S + i * 0.002 + 1e-6) - energy(END_S + i * 0.002)) for i in range(50)]
    tail = Tail(
        last=Step(at_s=tail_step, half_s=0.002, energy_j=energy(tail_step - lag_s)),
        first=after.steps[0],
        powers=[(at, joules / 1e-6) for at, joules in polled] if powers else (),
    )
    return energy_between(first, last, tail, start_s=START_S, end_s=END_S, quantum_j=0.001)


TRUE_J = BUSY_W * (END_S - START_S)


@pytest.mark.parametrize("lag_s", [0.0, 0.02, 0.09, 0.15])
@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.049, 0.051, 0.098])
def test_a_pulse_is_measured_whatever_the_counters_phase_and_lag(phase_s: float, lag_s: float) -> None:
    found = measured(phase_s=phase_s, lag_s=lag_s)
    assert found.energy_j == pytest.approx(TRUE_J, rel=0.005)
    assert abs(found.energy_j - TRUE_J) <= found.uncertainty_j <= 0.02 * TRUE_J


@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.049, 0.051, 0.098])
def test_without_instant_power_the_uncertainty_includes_a_possible_slow_fall(phase_s: float) -> None:
    with_power, without = measured(phase_s=phase_s), measured(phase_s=phase_s, powers=False)
    assert abs(without.energy_j - TRUE_J) <= without.uncertainty_j
    assert without.uncertainty_j > with_power.uncertainty_j


@pytest.mark.parametrize("phase_s", [0.02, 0.049, 0.051, 0.098])
def test_power_that_falls_slowly_is_subtracted_if_counter_and_instant_power_agree(phase_s: float) -> None:
    levels = [*LEVELS[:2], *((END_S + 0.002 * i, BUSY_W - 29 * i) for i in range(1, 11)), LEVELS[2]]
    found = measured(phase_s=phase_s, energy=lambda at: energy_up_to(at, levels))
    assert abs(found.energy_j - TRUE_J) <= found.uncertainty_j
    assert found.energy_j == pytest.approx(TRUE_J, rel=0.04)


@pytest.mark.parametrize("powers", [True, False])
@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.02, 0.049, 0.051, 0.098])
def test_power_that_began_to_fall_before_the_window_ended_is_within_the_uncertainty(
    phase_s: float, powers: bool
) -> None:
    fell = END_S - 0.03
    glow = [(fell + 0.01 * i, IDLE_W + 80 * math.exp(-i / 10)) for i in range(1, 60)]
    levels = [LEVELS[0], (fell, BUSY_W), *glow, LEVELS[2]]
    true_j = energy_up_to(END_S, levels) - energy_up_to(START_S, levels)
    found = measured(phase_s=phase_s, energy=lambda at: energy_up_to(at, levels), powers=powers)
    assert abs(found.energy_j - true_j) <= found.uncertainty_j


def test_a_different_idle_power_after_the_window_increases_the_uncertainty_by_the_possible_lag() -> None:
    levels = [*LEVELS[:2], (math.inf, 100.0)]
    for lag_s in (0.0, 0.04):
        found = measured(lag_s=lag_s, energy=lambda at: energy_up_to(at, levels))
        assert abs(found.energy_j - TRUE_J) <= found.uncertainty_j
        assert found.uncertainty_j > 2 * measured().uncertainty_j


def test_a_step_is_placed_between_the_readings_that_enclose_it() -> None:
    seen = Track()
    for before, after, energy in ((1.0, 1.001, 5.0), (1.004, 1.005, 5.0), (1.010, 1.012, 7.0)):
        seen.add(before, after, energy)
    assert [(s.at_s, s.half_s, s.energy_j) for s in seen.steps] == [(pytest.approx(1.008), pytest.approx(0.004), 7.0)]


def test_a_counter_that_falls_is_a_reset() -> None:
    seen = Track()
    seen.add(1.0, 1.0, 5.0)
    with pytest.raises(CounterResetError):
        seen.add(1.1, 1.1, 4.9)


def test_changing_power_is_not_level_and_the_uncertainty_of_the_last_resort_is_its_change() -> None:
    energies = (0.0, 6.0, 16.0, 32.0, 58.0)
    seen = Track(steps=[Step(at_s=i * 0.1, half_s=0.001, energy_j=energy) for i, energy in enumerate(energies)])
    assert seen.level() is None
    last = seen.last_resort()
    assert isinstance(last, Level)
    assert last.power_w == pytest.approx(260)
    assert last.uncertainty_w > 90


def test_the_level_begins_where_the_power_became_constant() -> None:
    energies = [350.0 * 0.1 * min(i, 4) + 60.0 * 0.1 * max(0, i - 4) for i in range(12)]
    seen = Track(steps=[Step(at_s=i * 0.1, half_s=0.001, energy_j=energy) for i, energy in enumerate(energies)])
    level = seen.level()
    assert level is not None
    assert level.power_w == pytest.approx(60)
    assert level.steps[0].at_s == pytest.approx(0.4)


def test_a_level_from_late_readings_does_not_include_an_earlier_plateau() -> None:
    energies = [110.0 * 0.02 * min(i, 25) + 60.0 * 0.02 * max(0, i - 25) for i in range(60)]
    seen = Track(steps=[Step(at_s=i * 0.02, half_s=0.007, energy_j=energy) for i, energy in enumerate(energies)])
    level = seen.level()
    assert level is not None
    assert level.power_w == pytest.approx(60, abs=2)
    assert level.steps[0].at_s > 0.45


@pytest.mark.parametrize(
    ("common_mj", "joules"), [(0, 0.001), (7, 0.001), (6, 0.001), (250, 0.01), (1500, 0.1), (6000, 1.0), (60_000, 1.0)]
)
def test_the_resolution_is_the_largest_power_of_ten_that_divides_all_values(common_mj: int, joules: float) -> None:
    assert resolution_j(common_mj) == joules


def test_the_period_is_the_median_of_the_observed_intervals() -> None:
    seen = Track()
    for i, at in enumerate((0.0, 0.02, 0.04, 0.06, 0.16)):
        seen.add(at, at, float(i))
    assert period_s([seen]) == pytest.approx(0.02)
    assert period_s([Track()]) is None


@pytest.mark.parametrize("missed_s", [0.0, 0.0005])
def test_the_last_step_in_the_window_is_one_period_before_the_first_observed_one(missed_s: float) -> None:
    steps = [Step(at_s=10 + missed_s + 0.1 * i, half_s=0.001, energy_j=6.0 * i) for i in range(1, 4)]
    found = step_before(steps[0], 4.0, [Track(steps=steps)])
    assert abs(found.at_s - (10 + missed_s)) <= found.half_s <= 0.0021
    assert found.energy_j == 4.0


def test_irregular_steps_make_the_unobserved_one_less_certain() -> None:
    steps = [Step(at_s=at, half_s=0.001, energy_j=6.0 * at) for at in (10.1, 10.2, 10.33, 10.4)]
    assert step_before(steps[0], 4.0, [Track(steps=steps)]).half_s > 0.02


def test_the_step_before_needs_a_period() -> None:
    with pytest.raises(ValueError, match="two steps"):
        step_before(Step(at_s=1, half_s=0, energy_j=1), 1.0, [Track()])


def test_steps_too_soon_after_a_track_was_opened_are_not_part_of_its_level() -> None:
    steps = [Step(at_s=10 + i * 0.05, half_s=0.001, energy_j=60 * 0.05 * i) for i in range(1, 9)]
    level = Track(steps=steps, opened_s=10.0).level()
    assert level is not None
    assert level.steps[0].at_s == pytest.approx(10.15)
    assert level.first == steps[0]
    assert Track(steps=steps, opened_s=10.3).level() is None


def test_a_level_that_a_lagging_counter_shows_of_the_window_is_not_the_idle_level_after_it() -> None:
    # busy at 120 W until 10.0; the counter lags by 0.12 s, so its first steps still show 120 W; the idle power is 100 W
    energies = [120 * 0.02 * min(i, 6) + 100 * 0.02 * max(0, i - 6) for i in range(1, 16)]
    steps = [Step(at_s=10 + i * 0.02, half_s=0.001, energy_j=j) for i, j in enumerate(energies, start=1)]
    level = Track(steps=steps, opened_s=10.0).level()
    assert level is not None
    assert level.power_w == pytest.approx(100, abs=1)


def test_power_below_idle_after_the_window_increases_the_uncertainty_by_the_missing_energy() -> None:
    levels = [*LEVELS[:2], (END_S + 0.1, 30.0), LEVELS[2]]
    found = measured(energy=lambda at: energy_up_to(at, levels))
    assert abs(found.energy_j - TRUE_J) <= found.uncertainty_j
    assert found.uncertainty_j >= 3.0
