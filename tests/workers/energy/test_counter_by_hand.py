"""Equation (1), its uncertainty and the hidden tail, worked out by hand. The window lasts from 10 to 10.4 s."""

from typing import Any

import pytest

from workers.energy.counter import Estimate, Level, Step, Tail, Track, energy_between, noise_w, step_before


def step(at_s: float, energy_j: float, half_s: float = 0.004) -> Step:
    return Step(at_s=at_s, half_s=half_s, energy_j=energy_j)


def level(*steps: Step, power_w: float = 60.0, uncertainty_w: float = 1.0, first: Step | None = None) -> Level:
    return Level(power_w=power_w, uncertainty_w=uncertainty_w, steps=steps, first=first or steps[0])


REST = level(step(9.9, 0.0, half_s=0.002), uncertainty_w=0.5)
"""60 W before the window: 6 J from its step to the start, 0.12 J for the step's timing, 0.05 J for the power."""
UNSEEN = Tail(last=step(10.0, 0.0), first=step(10.5, 160.0))
"""Nothing is known of the window's last part."""


def between(after: Level, tail: Tail = UNSEEN, before: Level = REST) -> Estimate:
    return energy_between(before, after, tail, start_s=10.0, end_s=10.4, quantum_j=0.001)


def test_a_window_is_the_counters_difference_less_the_rest_at_both_ends() -> None:
    got = between(level(step(10.5, 160.0)))
    assert got.energy_j == pytest.approx(160 - 6 - 6)
    # 124 J above rest; if the card drew as much until the step, 0.1 of 0.5 s of it lie behind the window
    assert got.uncertainty_j == pytest.approx(0.12 + 0.05 + 60 * 0.004 + 1 * 0.1 + 0.001 + 124 * 0.1 / 0.5)


def test_a_step_right_after_the_window_hides_nothing() -> None:
    got = between(level(step(10.4, 154.0)))
    assert got.energy_j == pytest.approx(148)
    assert got.uncertainty_j == pytest.approx(0.12 + 0.05 + 0.24 + 0.001)


@pytest.mark.parametrize(
    ("at_s", "half_s", "lag_s"),
    [
        (10.5, 0.004, 0.1 + 80 * 0.008 / 285),  # to the step, and while 285 W could go on within its timing
        (10.5, 0.1, 0.15),  # no counter lags more
        (10.6, 0.004, 0.2),  # unless it was seen to
    ],
)
def test_another_rest_after_the_window_costs_the_difference_over_the_longest_lag(
    at_s: float, half_s: float, lag_s: float
) -> None:
    after = at_s - 10.4
    got = between(level(step(at_s, 152 + 80 * after, half_s), power_w=80.0))
    assert got.energy_j == pytest.approx(146)
    hidden = (146 - 32) * after / (after + 0.4)
    assert got.uncertainty_j == pytest.approx(0.12 + 0.05 + 80 * half_s + after + 20 * lag_s + 0.001 + hidden)


def test_a_window_below_the_rest_after_it_takes_the_longest_lag() -> None:
    got = between(level(step(10.5, 26.0), power_w=80.0))
    assert got.energy_j == pytest.approx(12)
    assert got.uncertainty_j == pytest.approx(0.12 + 0.05 + 0.32 + 0.1 + 20 * 0.15 + 0.001)


def test_the_steps_that_are_least_uncertain_are_taken_and_what_was_drawn_late_is_added() -> None:
    before = level(step(9.5, -24.0, half_s=0.002), step(9.9, 0.0), uncertainty_w=0.5)  # 0.28 and 0.25 J
    first, second = step(10.5, 160.0), step(10.7, 173.5, half_s=0.0005)  # 0.26 and 0.30 J
    assert between(level(first, second), before=before).energy_j == pytest.approx(148)
    certain = level(first, second, uncertainty_w=0.1)
    got = between(certain, before=before)
    assert got.energy_j == pytest.approx(173.5 - 6 - 18)
    # 1.5 J more than 60 W lie between the two steps
    hidden = (149.5 - 24) * 0.1 / 0.5
    assert got.uncertainty_j == pytest.approx(0.24 + 0.05 + 0.03 + 0.03 + 1.5 + 0.001 + hidden)
    far = level(step(9.5, -24.0, half_s=0.001), step(9.9, 0.0), uncertainty_w=0.1)  # 0.08 and 0.24 J
    assert between(level(first), before=far).energy_j == pytest.approx(160 + 24 - 30 - 6)


@pytest.mark.parametrize("offset_j", [-159.0, 0.0, 1e6])
def test_the_counters_absolute_value_does_not_matter(offset_j: float) -> None:
    before = level(step(9.9, offset_j, half_s=0.002), uncertainty_w=0.5)
    first, second = step(10.5, 160.0 + offset_j), step(10.7, 173.5 + offset_j, half_s=0.0005)
    tail = Tail(last=step(10.0, offset_j), first=first)
    got = between(level(first, second, uncertainty_w=0.1), tail, before)
    assert got.energy_j == pytest.approx(149.5)
    assert got.uncertainty_j == pytest.approx(0.12 + 0.05 + 0.03 + 0.03 + 1.5 + 0.001 + 125.5 * 0.1 / 0.5)


def glowing(*, seen_j: float = 105.0, fell_j: float = 0.0, last_s: float = 10.3, **powers: Any) -> Tail:
    """350 W until the window's last step at 10.3 s; the first step after the window comes at 10.45 s."""
    first = step(10.45, 154.0 - fell_j, half_s=0.002)
    return Tail(last=step(last_s, 6 + seen_j, half_s=0.002), first=first, **powers)


AFTER = level(step(10.5, 157.0))
"""145 J in the window, 5 J more than 350 W carried on to its end."""
OTHERS_J = 0.12 + 0.05 + 0.24 + 0.1 + 0.001
NOISE_J = 350 * 0.002 * 0.4 / 0.3


@pytest.mark.parametrize(
    ("tail", "bound_j"),
    [
        (glowing(), 5 + 0.1 * 350 * 0.1),  # the power may vary by a tenth in the last tenth of a second
        (glowing(fell_j=0.45), 5 + 3.5),  # less than 0.1 J of noise and 0.36 J of timing
        (glowing(fell_j=0.47), 145 - 105 - 6 + NOISE_J),  # it was seen to fall: it may have rested since the step
        (glowing(seen_j=120.0), 145 - 120 - 6 + 400 * 0.002 * 0.4 / 0.3),  # 400 W cannot have gone on
        (glowing(seen_j=111.0), 3.7),  # 370 W can, just about
        (glowing(seen_j=35.0, last_s=10.1), 121 * 0.1 / 0.5),  # too early in the window to tell its power
        (glowing(last_s=10.41), 121 * 0.1 / 0.5),  # the first reading came too late
    ],
)
def test_without_the_instant_power_the_hidden_tail_is_bounded_by_the_counter(tail: Tail, bound_j: float) -> None:
    got = between(AFTER, tail)
    assert got.energy_j == pytest.approx(145)
    assert got.uncertainty_j == pytest.approx(OTHERS_J + bound_j)


@pytest.mark.parametrize(
    ("powers", "hidden_j", "error_j"),
    [
        ([(10.4, 310.0), (10.42, 60.0)], 5.0, 5.0),  # 250 W above rest for 20 ms: the counter says the same
        ([(10.4, 310.0), (10.416, 60.0)], 4.0, 4.0),  # nearly the same: 0.15 of it and the noise apart
        ([(10.4, 160.0), (10.42, 60.0)], 0.0, 2.1),  # less: the counter lags; 2 J, and 2 W of noise for 0.1 s
        ([(10.4, 160.0), (10.42, 40.0), (10.45, 60.0)], 0.0, 2.1 + 0.6),  # 20 W below rest for 30 ms
        ([(10.4, 61.9), (10.45, 60.0)], 0.0, 0.1),  # noise is no power
        ([(10.3, 310.0), (10.41, 310.0), (10.42, 60.0), (10.6, 900.0)], 5.0, 5.0),  # only between end and step
        ([(10.41, 560.0), (10.42, 60.0)], 0.0, 8.5),  # 10 J would be more than the counter allows
    ],
)
def test_with_it_both_must_agree_before_anything_is_taken_off(
    powers: list[tuple[float, float]], hidden_j: float, error_j: float
) -> None:
    got = between(AFTER, glowing(powers=powers))
    assert got.energy_j == pytest.approx(145 - hidden_j)
    assert got.uncertainty_j == pytest.approx(OTHERS_J + error_j)


def test_until_the_first_reading_of_the_power_the_mean_of_work_and_rest_may_be_drawn() -> None:
    late = Tail(last=UNSEEN.last, first=UNSEEN.first, powers=[(10.42, 60.0)])
    got = between(AFTER, late)
    assert got.energy_j == pytest.approx(145)
    # from 10.4 to 10.42: 60 W then; half of 362.5 - 60 W may hide, and 2 W of noise over 0.1 s
    assert got.uncertainty_j == pytest.approx(OTHERS_J + 302.5 / 2 * 0.02 + 0.1)


def track(*energies_j: float, **more: Any) -> Track:
    return Track(steps=[step(0.1 * i, energy, half_s=0.001) for i, energy in enumerate(energies_j)], **more)


def test_a_level_has_the_mean_power_with_the_error_of_its_ends_and_half_of_what_its_blocks_differ() -> None:
    got = track(0, 6, 12, 18.3).level()  # 60, 60, 63 W
    assert got is not None
    assert got.power_w == pytest.approx(61)
    assert got.uncertainty_w == pytest.approx((3**2 / 4 + (61 * 0.002 / 0.3) ** 2) ** 0.5)
    assert (len(got.steps), got.first.at_s) == (4, 0)


@pytest.mark.parametrize(("last_j", "is_level"), [(18.37, True), (18.39, False), (17.65, True), (17.6, False)])
def test_blocks_that_differ_by_more_than_noise_and_timing_are_no_level(last_j: float, is_level: bool) -> None:
    # 2 W of noise and 1.77 W of timing
    assert (track(0, 6, 12, last_j).level() is not None) is is_level


def test_a_coarse_counter_needs_longer_blocks() -> None:
    assert track(0, 6, 12, 18, quantum_j=0.25).level() is not None  # 3.7 W of 4
    assert track(0, 6, 12, 18, quantum_j=0.3).level() is None
    longer = track(0, 6, 12, 18, 24, 30, quantum_j=0.3).level()  # 4.2 W over 0.1 s, half of it over 0.2 s
    assert longer is not None
    assert longer.uncertainty_w == pytest.approx((60 * 0.002 + 0.3) / 0.5)


def test_blocks_are_at_least_50_ms_long() -> None:
    steps = [step(0.03 * i, 1.8 * i, half_s=0.0001) for i in range(4)]
    assert Track(steps=steps).level() is None
    assert Track(steps=[*steps, step(0.12, 7.2, half_s=0.0001)]).level() is not None


def test_the_last_resort_is_the_power_of_the_last_interval_and_differs_from_the_one_before() -> None:
    got = track(0, 6, 16, 32, 58).last_resort()
    assert got is not None
    assert got.power_w == pytest.approx(260)
    assert got.uncertainty_w == pytest.approx(260 * 0.002 / 0.1 + 100)
    assert [one.energy_j for one in got.steps] == [32, 58]
    assert got.first.energy_j == 32
    only = track(0, 6).last_resort()
    assert only is not None
    assert (only.power_w, only.uncertainty_w) == (pytest.approx(60), pytest.approx(1.2))
    assert track(0).last_resort() is None


def test_the_step_before_is_as_uncertain_as_the_timing_and_the_irregularity_of_those_seen() -> None:
    steps = [step(at_s, 6.0, half_s=0.001) for at_s in (10.1, 10.2, 10.33, 10.4)]
    got = step_before(steps[0], 4.0, [Track(steps=steps)])
    assert (got.at_s, got.energy_j) == (pytest.approx(10.0), 4.0)
    assert got.half_s == pytest.approx(0.001 + 0.002 / 2 + (0.03 - 0.002))


@pytest.mark.parametrize(("power_w", "noise"), [(50.0, 2.0), (100.0, 3.0), (400.0, 12.0)])
def test_noise_is_2_w_or_3_per_cent(power_w: float, noise: float) -> None:
    assert noise_w(power_w) == pytest.approx(noise)


def test_blocks_of_high_power_may_be_uncertain_by_5_per_cent() -> None:
    steps = [[step(0.1 * i, 300 * 0.1 * i, half_s=half_s) for i in range(4)] for half_s in (0.0024, 0.0026)]
    exact, vague = (Track(steps=one) for one in steps)  # 14.4 and 15.6 W of 300 W
    assert exact.level() is not None
    assert vague.level() is None
