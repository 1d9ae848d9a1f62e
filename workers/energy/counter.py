"""Calculate the energy of a window from a counter that steps: the mathematics, without NVML and without a clock.

A card's energy counter steps every 20-100 ms, and then shows the energy up to a moment an unknown lag earlier. Two
readings, one before and one after, therefore miss up to a step at each end. Here the window is bracketed instead:

          A            start                         end     B1      B2      B3
    ──────┴──────────────┼────────────────────────────┼──────┴───────┴───────┴──  counter steps
      p0, level          │          the window        │ tail │   p1, level

    E = (C_B - C_A) - p0 (start - A) - p1 (B - end)                                                           (1)

with C the counter at a step, A a step before the window and B one after it. Between them and the window the power is
level (p0, p1, measured with the same counter). Why this form: if the counter lags by L, both brackets contain the
energy up to L earlier, and the error of (1) is only L (p1 - p0), which is zero for equal idle power before and after.

(1) does not detect power that falls slowly after the work's end and before the first step ("hidden tail"): that energy
would count as part of the window. `_hidden_tail` limits it. All times are in seconds on one monotonic clock, all
uncertainties are half widths of 95 % intervals.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from workers.records.errors import JouleGridError

BLOCK_S = 0.05
"""The power is level if two stretches of at least this length agree. Unit: s."""
BLOCK_ERROR = 0.05
"""Largest relative uncertainty of their power, which a coarse counter or a late reading may exceed."""
LEVEL_W, LEVEL_SHARE = 2.0, 0.03
"""How far they may differ beyond the uncertainty of the steps' times: W, and share of the power."""
BUSY_VARIATION = 0.1
"""Assumed relative difference between the power at the window's end and its mean, if nothing shows it."""

LONGEST_LAG_S = 0.15
"""No known counter lags more. A step may contain power that is older than this only by its period. Unit: s."""

COARSEST_MJ = 1000
"""No known counter has a coarser resolution. Unit: mJ."""

AGREEMENT = 0.15
"""Relative difference up to which two estimates of the same energy confirm each other."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the counter: at `at_s` +- `half_s`, to `energy_j`."""

    at_s: float
    half_s: float
    energy_j: float


@dataclass(frozen=True, kw_only=True)
class Level:
    """A stretch of steady power, from the first to the last of `steps`, none of which contains earlier power."""

    power_w: float
    uncertainty_w: float
    steps: tuple[Step, ...]
    first: Step
    """The first step since which no other power was observed; it may be earlier than `steps`."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Energy over a window with the half width of its 95 % interval. Unit: J."""

    energy_j: float
    uncertainty_j: float


def noise_w(power_w: float) -> float:
    """How far a card's power may vary and still count as level. Unit: W."""
    return max(LEVEL_W, LEVEL_SHARE * power_w)


def resolution_j(common_mj: int) -> float:
    """Resolution of a counter, from the greatest common divisor of its values: the largest power of ten in it. Unit: J.

    The divisor itself may be larger because of steady power: 60 W over 100 ms, from 0, gives multiples of 6000 mJ.
    """
    found_mj = 1
    while common_mj > 0 and found_mj < COARSEST_MJ and common_mj % (10 * found_mj) == 0:
        found_mj *= 10
    return found_mj / 1000


class CounterResetError(JouleGridError):
    """The counter ran backwards: the driver was reloaded or the card reset, and the difference means nothing."""


@dataclass
class Track:
    """Readings of one counter in their order, reduced to its steps."""

    quantum_j: float = 0.0
    """Resolution of the counter. Unit: J."""
    opened_s: float = -math.inf
    """Start of the period that the track covers. Unit: s."""
    steps: list[Step] = field(default_factory=list)
    _last: tuple[float, float] | None = None
    _level: tuple[int, float, Level | None] = (0, 0.0, None)  # for so many steps and this resolution

    def add(self, before_s: float, after_s: float, energy_j: float) -> None:
        """Add a reading that was made between two moments.

        Raises:
            CounterResetError: it is less than the previous reading.

        """
        if self._last is not None:
            known_s, known_j = self._last
            if self.carry_on(energy_j) > known_j:  # it stepped after the last reading began and before this one ended
                half = (after_s - known_s) / 2
                self.steps.append(Step(at_s=known_s + half, half_s=half, energy_j=energy_j))
        self._last = (before_s, energy_j)

    def carry_on(self, energy_j: float) -> float:
        """Return the given later reading, after a check that it is not less than the last one.

        Raises:
            CounterResetError: it is less.

        """
        if self._last is not None and energy_j < self._last[1]:
            raise CounterResetError
        return energy_j

    def intervals_s(self) -> list[float]:
        """Times between the steps. Unit: s."""
        return [b.at_s - a.at_s for a, b in pairwise(self.steps)]

    def level(self) -> Level | None:
        """The steady stretch at the track's end; None while the power still changes or there are too few steps."""
        if self._level[:2] != (len(self.steps), self.quantum_j):
            self._level = len(self.steps), self.quantum_j, self._find_level()
        return self._level[2]

    def _find_level(self) -> Level | None:
        sure = self._first_sure()
        ends = self._two_blocks(sure)
        if ends is None:
            return None
        begin, middle = ends
        differ_w = self._differ_w(begin, middle)
        if differ_w is None:
            return None
        first = self._extend(begin, middle)
        begin = max(first, sure)
        power, error = self._power(begin, len(self.steps) - 1)
        return Level(
            power_w=power,
            uncertainty_w=math.hypot(error, differ_w / 2),
            steps=tuple(self.steps[begin:]),
            first=self.steps[first],
        )

    def last_resort(self) -> Level | None:
        """The power at the track's end, level or not; its uncertainty is its difference from the power before."""
        if len(self.steps) < 2:
            return None
        last = len(self.steps) - 1
        power, error = self._power(max(0, last - 1), last)
        was, _ = self._power(max(0, last - 2), max(1, last - 1))
        steps = tuple(self.steps[last - 1 :])
        return Level(power_w=power, uncertainty_w=error + abs(power - was), steps=steps, first=steps[0])

    def _first_sure(self) -> int:
        """Index of the first step that contains all energy drawn before the track was opened."""
        return bisect_left(self.steps, self.opened_s + LONGEST_LAG_S, key=lambda step: step.at_s)

    def _two_blocks(self, sure: int) -> tuple[int, int] | None:
        """Indices of the beginnings of the last two stretches that are long enough to determine their power."""
        ends, right = [], len(self.steps) - 1
        for i in range(right - 1, sure - 1, -1):
            if self._tells(i, right):
                ends.append(i)
                right = i
            if len(ends) == 2:
                return ends[1], ends[0]
        return None

    def _extend(self, first: int, end: int) -> int:
        """The earliest step since which the power was the same as at the track's end, between `first` and `end`."""
        for i in range(first - 1, -1, -1):
            while end - 1 > i and self._tells(i, end - 1):
                end -= 1
            if self._differ_w(i, end) is None:
                break
            first = i
        return first

    def _differ_w(self, i: int, j: int) -> float | None:
        """Difference between the power of two steps and that since then; None if it is another level. Unit: W."""
        (a, a_error), (b, b_error) = self._power(i, j), self._power(j, len(self.steps) - 1)
        return None if abs(a - b) > noise_w(max(a, b)) + math.hypot(a_error, b_error) else a - b

    def _tells(self, i: int, j: int) -> bool:
        """Whether two steps are far enough apart to determine the power between them."""
        if self.steps[j].at_s - self.steps[i].at_s < BLOCK_S:
            return False
        power, error = self._power(i, j)
        return error <= max(2 * LEVEL_W, BLOCK_ERROR * power)

    def _power(self, i: int, j: int) -> tuple[float, float]:
        """Mean power between two steps and its uncertainty. Unit: W."""
        a, b = self.steps[i], self.steps[j]
        span = b.at_s - a.at_s
        power = (b.energy_j - a.energy_j) / span
        return power, (power * (a.half_s + b.half_s) + self.quantum_j) / span


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Observations right after the window: the counter's last step in it, and the instant power if available."""

    last: Step
    """The value of the counter at the window's end, and the time of that step."""
    first: Step
    """The step after that."""
    powers: Sequence[tuple[float, float]] = ()
    """(time, W) of the instant-power readings; empty if the card has no such field."""


def period_s(tracks: Sequence[Track]) -> float | None:
    """Median time between the observed steps; None with fewer than two. Unit: s."""
    intervals = [interval for track in tracks for interval in track.intervals_s()]
    return median(intervals) if intervals else None


def step_before(first: Step, energy_j: float, tracks: Sequence[Track]) -> Step:
    """The unobserved step, one period before the first one of a track; `energy_j` is the counter's value since then.

    Raises:
        ValueError: fewer than two steps in a row were observed, so the period is unknown.

    """
    period = period_s(tracks)
    if period is None:
        raise ValueError("the period of a counter is unknown: it needs at least two steps")
    pairs = [(b.at_s - a.at_s, a.half_s + b.half_s) for track in tracks for a, b in pairwise(track.steps)]
    irregular = max(0.0, *(abs(interval - period) - error for interval, error in pairs))
    half = first.half_s + median(error for _, error in pairs) / 2 + irregular
    return Step(at_s=first.at_s - period, half_s=half, energy_j=energy_j)


def energy_between(
    before: Level, after: Level, tail: Tail, *, start_s: float, end_s: float, quantum_j: float
) -> Estimate:
    """Energy of a card between two moments, by equation (1) of this module. Unit: J."""
    a = min(
        before.steps, key=lambda s: math.hypot(before.power_w * s.half_s, before.uncertainty_w * (start_s - s.at_s))
    )
    # Only a step later than the longest lag is certain to contain all of the window.
    b = min(after.steps, key=lambda s: math.hypot(after.power_w * s.half_s, after.uncertainty_w * (s.at_s - end_s)))
    head_j = before.power_w * (start_s - a.at_s)
    energy = b.energy_j - a.energy_j - head_j - after.power_w * (b.at_s - end_s)
    late_j = abs(b.energy_j - after.first.energy_j - after.power_w * (b.at_s - after.first.at_s))
    mean_w = energy / (end_s - start_s)
    lag_j = _longest_lag_s(after, b, late_j, mean_w=mean_w, end_s=end_s) * abs(after.power_w - before.power_w)
    hidden, hidden_error = _hidden_tail(energy, a, head_j, after, tail, start_s=start_s, end_s=end_s)
    # Each part is a bound, and most have the same sign in all windows of a card: they add up linearly.
    uncertainty = math.fsum(
        (
            before.power_w * a.half_s,
            after.power_w * b.half_s,
            before.uncertainty_w * (start_s - a.at_s),
            after.uncertainty_w * (b.at_s - end_s),
            lag_j,
            late_j,
            quantum_j,
            hidden_error,
        )
    )
    return Estimate(energy_j=energy - hidden, uncertainty_j=uncertainty)


def _longest_lag_s(after: Level, b: Step, late_j: float, *, mean_w: float, end_s: float) -> float:
    """The longest lag that the readings allow. Unit: s.

    It is the time from the window's end to the first step after which only idle power was observed, plus the time for
    which the window's power could have continued unobserved: `late_j` was drawn above idle since that step.
    """
    seen_s = max(0.0, after.first.at_s - end_s)
    unseen_j = late_j + after.power_w * (after.first.half_s + b.half_s)
    over_w = mean_w - after.power_w
    unseen_s = unseen_j / over_w if over_w > 0 else math.inf
    return max(seen_s, min(seen_s + unseen_s, LONGEST_LAG_S))


def _hidden_tail(
    energy_j: float, a: Step, head_j: float, after: Level, tail: Tail, *, start_s: float, end_s: float
) -> tuple[float, float]:
    """Energy above idle between the window's end and the first level step, and its uncertainty. Unit: J.

    Two bounds, of which the smaller applies: (b) the counter's last step in the window, see `_carried_on`; (c) the
    instant power: a sensor that holds or averages shows too much of a falling power, never too little. If neither is
    available, (a): the card drew the window's power until that step. The energy is subtracted only if (b) and (c)
    agree, as (b) alone may be the counter's lag.
    """
    tail_s = max(0.0, after.first.at_s - end_s)
    excess = max(0.0, energy_j - after.power_w * (end_s - start_s))
    most = excess * tail_s / (tail_s + end_s - start_s)
    inside = noise = None
    within = tail.last.at_s - tail.last.half_s <= end_s  # else the machine stalled, and the first reading was too late
    if within and tail.last.at_s - start_s > (end_s - start_s) / 3:
        seen_j = tail.last.energy_j - a.energy_j - head_j
        inside, noise, most = _carried_on(energy_j, seen_j, after, tail, start_s=start_s, end_s=end_s)
    if not tail.powers:
        return 0.0, most
    polled, below, unwatched = _polled(tail.powers, after, end_s, mean_w=energy_j / (end_s - start_s))
    most = polled + unwatched if inside is None else min(most, polled + unwatched)
    agree = inside is not None and noise is not None and abs(polled - inside) <= AGREEMENT * polled + noise
    hidden = min(polled, most) if agree else 0.0
    return hidden, max(hidden, most - hidden) + below


def _carried_on(
    energy_j: float, seen_j: float, after: Level, tail: Tail, *, start_s: float, end_s: float
) -> tuple[float, float, float]:
    """Energy beyond that of the window's last step extrapolated to its end; its noise; a bound. Unit: J.

    The bound assumes the mean power before that step also after it. If that is impossible (less was drawn, or the power
    fell after the window, so the fall may have begun inside it), the card may have been idle since that step.
    """
    duration_s, seen_s = end_s - start_s, tail.last.at_s - start_s
    busy_w = seen_j / seen_s
    surplus_j = energy_j - busy_w * duration_s
    noise_j = busy_w * tail.last.half_s * duration_s / seen_s
    varied_j = max(noise_j, BUSY_VARIATION * busy_w * (duration_s - seen_s))
    inside_j = max(0.0, surplus_j)
    bound_j = inside_j + varied_j
    first = after.first
    falling_s = first.at_s - tail.first.at_s
    falling_j = first.energy_j - tail.first.energy_j - after.power_w * falling_s
    fell = falling_j > noise_w(after.power_w) * falling_s + after.power_w * (first.half_s + tail.first.half_s)
    if surplus_j < -varied_j or fell:
        rested_j = energy_j - seen_j - after.power_w * (duration_s - seen_s) + noise_j
        bound_j = max(varied_j, rested_j)
    return inside_j, noise_j, bound_j


def _polled(
    powers: Sequence[tuple[float, float]], after: Level, end_s: float, *, mean_w: float
) -> tuple[float, float, float]:
    """Energy above and below idle by the instant power up to the first level step; unobserved energy. Unit: J."""
    until_s = max(after.first.at_s, end_s)
    noise = noise_w(after.power_w)
    above = below = 0.0
    left_s = end_s
    for (_, watts), (next_s, _) in pairwise([*powers, (math.inf, 0.0)]):
        right_s = min(until_s, next_s)
        over_w = watts - after.power_w
        if right_s > left_s and abs(over_w) > noise:
            above += max(0.0, over_w) * (right_s - left_s)
            below += max(0.0, -over_w) * (right_s - left_s)
        left_s = max(left_s, right_s)
    first_s = max(0.0, powers[0][0] - end_s)
    return above, below, max(0.0, mean_w - after.power_w) / 2 * first_s + noise * (until_s - end_s) / 2
