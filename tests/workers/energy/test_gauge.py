"""When a gauge has seen enough, and what it doubts: one card whose counter steps as it is told, read every 2 ms."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from workers.energy.gauge import CounterGauge


class Clock:
    at_s = 0.0

    def now_s(self) -> float:
        return self.at_s


class Card:
    """Its counter moves every `period_s` and has drawn `energy_j(t)`; its instant power is `power_w(t)`."""

    def __init__(self, clock: Clock, energy_j: Callable[[float], float], period_s: float, **more: Any) -> None:
        self._clock, self._energy_j, self._period_s = clock, energy_j, period_s
        self._power_w = more.get("power_w", lambda _: 60.0)

    def energy_mj(self) -> int:
        step = math.floor(self._clock.at_s / self._period_s + 1e-6) * self._period_s
        return round(self._energy_j(step) * 1000)

    def instant_power_w(self) -> float:
        return self._power_w(self._clock.at_s)


def steady(at: float) -> float:
    """60 W and a little: exactly 60 W in 0.1 s would look like a counter in steps of 1 J."""
    return 60.013 * at


def gauge(energy_j: Callable[[float], float] = steady, period_s: float = 0.1, **more: Any) -> CounterGauge:
    clock = Clock()
    made = CounterGauge(Card(clock, energy_j, period_s, **more), clock)  # type: ignore[arg-type]
    made.open()
    return made


def follow(made: CounterGauge, until_s: float, every_s: float = 0.002) -> bool:
    """Poll until that moment, and say whether it is ready then."""
    while made.clock.at_s < until_s - 1e-6:  # type: ignore[attr-defined]
        made.clock.at_s += every_s  # type: ignore[attr-defined]
        made.poll()
    return made.ready()


def window(made: CounterGauge, *, at_s: float = 1.0, seconds: float = 0.4, until_s: float = 2.5) -> CounterGauge:
    """Rest until `at_s`, then a window in which nothing is read, then rest until `until_s`."""
    follow(made, at_s)
    made.clock.at_s = at_s + seconds  # type: ignore[attr-defined]
    made.open(after=True)
    follow(made, until_s)
    return made


def pulse(at: float, *, rest_w: float = 60.0) -> float:
    """60 W, but 300 W from 1.0 to 1.4 s, and `rest_w` after that."""
    return steady(min(at, 1.0)) + 300 * min(max(at - 1.0, 0.0), 0.4) + rest_w * max(at - 1.4, 0.0)


def test_two_blocks_of_level_power_are_enough_once_the_counter_may_lag_no_more() -> None:
    made = gauge()  # a step at 0.2 s is the first that is later than 0.15 s
    assert not follow(made, 0.398)
    assert follow(made, 0.402)
    assert made.settled
    assert made.idle_level is not None
    assert made.idle_level.power_w == pytest.approx(60, rel=0.01)
    assert made.period_s == pytest.approx(0.1)


def test_a_counter_that_does_not_move_for_a_second_and_a_half_is_stalled() -> None:
    made = gauge(lambda _: 5.0)
    assert not follow(made, 1.49)
    assert follow(made, 1.52)
    assert made.result(1.0, 1.2).reasons == ("counter_stalled",)
    assert made.result(1.0, 1.2).estimate is None


def test_a_machine_that_stalls_watches_no_longer_than_50_ms_at_a_time() -> None:
    made = gauge(lambda _: 5.0)
    assert not follow(made, 29.0, every_s=1.0)  # 29 x 0.05 s
    assert follow(made, 31.0, every_s=1.0)


@pytest.mark.parametrize(("period_s", "patience_s"), [(0.1, 0.15 + 10 * 0.1), (0.02, 0.15 + 0.75)])
def test_power_that_never_settles_is_taken_as_it_is_when_patience_ends(period_s: float, patience_s: float) -> None:
    made = gauge(lambda at: 10 * math.exp(4 * at), period_s)
    assert not follow(made, patience_s - 0.03)
    assert not made.settled
    assert follow(made, patience_s + 0.03)


@pytest.mark.parametrize(("rest_w", "ready"), [(79.0, True), (81.0, False)])
def test_after_the_window_the_power_must_be_nearly_that_before_it(rest_w: float, ready: bool) -> None:
    made = window(gauge(lambda at: pulse(at, rest_w=rest_w)), until_s=2.0)  # 1.25 x 60 + 5 = 80 W
    assert made.settled
    assert made.ready() is ready


def test_a_window_has_its_energy_and_no_doubts() -> None:
    result = window(gauge(pulse)).result(1.0, 1.4)
    assert result.estimate is not None
    assert result.estimate.energy_j == pytest.approx(300 * 0.4, abs=1)
    assert abs(result.estimate.energy_j - 120) <= result.estimate.uncertainty_j
    assert result.reasons == ()


@pytest.mark.parametrize(("seconds", "reasons"), [(0.19, ("short_window",)), (0.21, ())])
def test_a_window_of_less_than_two_periods_is_short(seconds: float, reasons: tuple[str, ...]) -> None:
    assert window(gauge(), seconds=seconds).result(1.0, 1.0 + seconds).reasons == reasons


def test_power_that_moved_just_before_the_window_costs_its_change_over_the_longest_lag() -> None:
    def moved(by_w: float) -> Any:
        return window(gauge(pulse, power_w=lambda at: 60.0 + by_w * (0.86 < at < 1.01))).result(1.0, 1.4)

    still, little, much = moved(0.0), moved(1.0), moved(10.0)
    assert little.estimate.uncertainty_j - still.estimate.uncertainty_j == pytest.approx(1.0 * 0.15)
    assert much.estimate.uncertainty_j - still.estimate.uncertainty_j == pytest.approx(10.0 * 0.15)
    assert (little.reasons, much.reasons) == ((), ("unsettled_before",))


def test_power_that_moves_before_the_window_delays_it() -> None:
    moving = gauge(power_w=lambda at: 60.0 + 10.0 * (at > 0.3))
    assert not follow(moving, 0.402)
    assert follow(moving, 0.70)


def test_a_counter_that_falls_between_the_polls_before_and_after_is_a_reset() -> None:
    made = window(gauge(lambda at: 60 * at if at < 1.2 else 1.0 + at))
    assert made.result(1.0, 1.4).reasons == ("counter_reset",)


def test_levels_that_had_to_be_guessed_are_doubted_on_their_side() -> None:
    rising = window(gauge(lambda at: 10 * math.exp(4 * min(at, 1.0)) + 300 * max(at - 1.0, 0.0)))
    assert "unsettled_before" in rising.result(1.0, 1.4).reasons
    after = window(gauge(lambda at: 60 * min(at, 1.4) + 10 * math.exp(4 * max(at - 1.4, 0.0)) - 10))
    assert after.result(1.0, 1.4).reasons == ("unsettled_after",)


def test_the_resolution_is_what_all_readings_have_in_common() -> None:
    coarse = window(gauge(lambda at: float(round(pulse(at)))))
    assert coarse._track.quantum_j == 1.0
    assert coarse._before is not None
    assert coarse._before.quantum_j == 1.0
    fine = window(gauge(lambda at: pulse(at) + 0.013 * at))
    assert fine._track.quantum_j == 0.001


def test_a_window_after_which_nothing_was_seen_has_no_figure() -> None:
    result = window(gauge(pulse), until_s=1.45).result(1.0, 1.4)
    assert (result.estimate, result.reasons) == (None, ("counter_stalled",))
    assert result.before is not None


def test_a_window_of_several_periods_is_not_short_wherever_it_begins() -> None:
    assert window(gauge(), at_s=0.5, seconds=0.6).result(0.5, 1.1).reasons == ()
