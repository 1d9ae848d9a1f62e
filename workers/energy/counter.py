"""From a counter that steps to the energy of a window: the mathematics, without NVML and without a clock.

A card's energy counter moves every 20-100 ms, and each time shows the energy up to a moment that lies an unknown lag
back. "Read before, read after" therefore misses up to a step at each end. Here the window is bracketed instead:

          A            start                         end     B1      B2      B3
    ──────┴──────────────┼────────────────────────────┼──────┴───────┴───────┴──  counter steps
      p0, level          │          the window        │ tail │   p1, level

    E = (C_B - C_A) - p0 (start - A) - p1 (B - end)                                                           (1)

with C the counter at a step, A a step before the window and B one after it, between which and the window the power is
level (p0, p1, measured with the same counter). Why this form: if the counter lags by L, both brackets hold the energy
up to L earlier, and (1) is off by L (p1 - p0) only, so where a card rests alike before and after, it need not be known.

What (1) cannot see is power that falls slowly after the work's end but before the first step ("hidden tail"): that
energy would be counted to the window. The bounds on it are weighed in `_hidden_tail`. All times are in seconds on
one monotonic clock, all uncertainties are half widths of 95 % intervals.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

BLOCK_S = 0.05
"""Two stretches at least this long must agree before the power counts as level. Unit: s."""
BLOCK_ERROR = 0.05
"""Nor may their power be less certain than this share, as where the counter is coarse or a reading came late."""
LEVEL_W, LEVEL_SHARE = 2.0, 0.03
"""How far they may differ beyond what the steps' timing explains: W, and share of the power."""
BUSY_VARIATION = 0.1
"""Share by which the power at the window's end is taken to differ from its mean, where nothing shows it."""

LONGEST_LAG_S = 0.15
"""No counter is known to lag more. A step may hold power that is older than this only by its period. Unit: s."""

COARSEST_MJ = 1000
"""No counter is known to count in more than this. Unit: mJ."""

AGREEMENT = 0.15
"""Share by which two findings of the same energy may differ and still confirm each other."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The counter was seen to move: at `at_s`, give or take `half_s`, to `energy_j`."""

    at_s: float
    half_s: float
    energy_j: float


@dataclass(frozen=True, kw_only=True)
class Level:
    """A stretch of steady power, from the first of `steps` to the last, none of which holds anything else."""

    power_w: float
    uncertainty_w: float
    steps: tuple[Step, ...]
    first: Step
    """Since this one, no other power was seen; it may have come too soon to tell. It may be older than `steps`."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Energy over a window with the half width of its 95 % interval. Unit: J."""

    energy_j: float
    uncertainty_j: float


def noise_w(power_w: float) -> float:
    """How far a card's power may move and still count as level. Unit: W."""
    return max(LEVEL_W, LEVEL_SHARE * power_w)


def resolution_j(common_mj: int) -> float:
    """Resolution of a counter whose values have a greatest common divisor: a power of ten, in mJ. Unit: J.

    Steady power makes values that have more in common: 60 W over 100 ms, counted from 0, are multiples of 6000 mJ.
    """
    found_mj = 1
    while common_mj > 0 and found_mj < COARSEST_MJ and common_mj % (10 * found_mj) == 0:
        found_mj *= 10
    return found_mj / 1000


class CounterResetError(Exception):
    """The counter ran backwards: the driver was reloaded or the card reset, and the difference means nothing."""


@dataclass
class Track:
    """Readings of one counter in the order they were made, condensed to its steps."""

    quantum_j: float = 0.0
    """Resolution of the counter. Unit: J."""
    opened_s: float = -math.inf
    """When what the track is about began."""
    steps: list[Step] = field(default_factory=list)
    _last: tuple[float, float] | None = None
    _level: tuple[int, float, Level | None] = (0, 0.0, None)  # for so many steps and this resolution

    def add(self, before_s: float, after_s: float, energy_j: float) -> None:
        """Take in a reading that was made between two moments.

        Raises:
            CounterResetError: it is less than the reading before.

        """
        if self._last is not None:
            known_s, known_j = self._last
            if self.carry_on(energy_j) > known_j:  # it moved after the last reading began and before this one ended
                half = (after_s - known_s) / 2
                self.steps.append(Step(at_s=known_s + half, half_s=half, energy_j=energy_j))
        self._last = (before_s, energy_j)

    def carry_on(self, energy_j: float) -> float:
        """The given later reading, once it is known to be no less than the last one.

        Raises:
            CounterResetError: it is less.

        """
        if self._last is not None and energy_j < self._last[1]:
            raise CounterResetError
        return energy_j

    def intervals_s(self) -> list[float]:
        """Times between the steps."""
        return [b.at_s - a.at_s for a, b in pairwise(self.steps)]

    def level(self) -> Level | None:
        """The steady stretch that the track ends with; null while the power still moves or too little was seen."""
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
        """The power that the track ends with, level or not: as uncertain as it is different from what was before it."""
        if len(self.steps) < 2:
            return None
        last = len(self.steps) - 1
        power, error = self._power(max(0, last - 1), last)
        was, _ = self._power(max(0, last - 2), max(1, last - 1))
        steps = tuple(self.steps[last - 1 :])
        return Level(power_w=power, uncertainty_w=error + abs(power - was), steps=steps, first=steps[0])

    def _first_sure(self) -> int:
        """Index of the first step that holds all that was drawn before the track was opened."""
        return bisect_left(self.steps, self.opened_s + LONGEST_LAG_S, key=lambda step: step.at_s)

    def _two_blocks(self, sure: int) -> tuple[int, int] | None:
        """Indices where the last two stretches begin that are long enough to tell their power."""
        ends, right = [], len(self.steps) - 1
        for i in range(right - 1, sure - 1, -1):
            if self._tells(i, right):
                ends.append(i)
                right = i
            if len(ends) == 2:
                return ends[1], ends[0]
        return None

    def _extend(self, first: int, end: int) -> int:
        """The earliest step from which on the power was what it is at the track's end; `first` to `end` tell it."""
        for i in range(first - 1, -1, -1):
            while end - 1 > i and self._tells(i, end - 1):
                end -= 1
            if self._differ_w(i, end) is None:
                break
            first = i
        return first

    def _differ_w(self, i: int, j: int) -> float | None:
        """By how much the power between two steps differs from that since; null where it is another level. Unit: W."""
        (a, a_error), (b, b_error) = self._power(i, j), self._power(j, len(self.steps) - 1)
        return None if abs(a - b) > noise_w(max(a, b)) + math.hypot(a_error, b_error) else a - b

    def _tells(self, i: int, j: int) -> bool:
        """Whether two steps are far enough from each other to tell the power between them."""
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
    """What was seen right after the window: the counter's last step in it, and the power where the card tells it."""

    last: Step
    """What the counter showed as the window ended, and since when it did."""
    first: Step
    """The step after that."""
    powers: Sequence[tuple[float, float]] = ()
    """(time, W) of the instant-power readings; empty where the card has no such field."""


def period_s(tracks: Sequence[Track]) -> float | None:
    """Median time between the steps seen; null where no two were. Unit: s."""
    intervals = [interval for track in tracks for interval in track.intervals_s()]
    return median(intervals) if intervals else None


def step_before(first: Step, energy_j: float, tracks: Sequence[Track]) -> Step:
    """The step that nobody saw, one period before the first one of a track: what was read until then, and since when.

    Raises:
        ValueError: no two steps in a row were seen, so that the period is not known.

    """
    period = period_s(tracks)
    if period is None:
        raise ValueError("a counter's period is known from two steps on")
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
    # Only a step that comes later than any lag is known to hold all of the window.
    b = min(after.steps, key=lambda s: math.hypot(after.power_w * s.half_s, after.uncertainty_w * (s.at_s - end_s)))
    head_j = before.power_w * (start_s - a.at_s)
    energy = b.energy_j - a.energy_j - head_j - after.power_w * (b.at_s - end_s)
    late_j = abs(b.energy_j - after.first.energy_j - after.power_w * (b.at_s - after.first.at_s))
    mean_w = energy / (end_s - start_s)
    lag_j = _longest_lag_s(after, b, late_j, mean_w=mean_w, end_s=end_s) * abs(after.power_w - before.power_w)
    hidden, hidden_error = _hidden_tail(energy, a, head_j, after, tail, start_s=start_s, end_s=end_s)
    # Each part is a bound, and most of them lean one way for all windows of a card: they add up, not in squares.
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

    It is the time from the window's end to the first step after which nothing but rest was seen, and as much longer
    as the window's power could go on unseen: `late_j` was drawn above rest since that step, give or take its timing.
    """
    seen_s = max(0.0, after.first.at_s - end_s)
    unseen_j = late_j + after.power_w * (after.first.half_s + b.half_s)
    over_w = mean_w - after.power_w
    unseen_s = unseen_j / over_w if over_w > 0 else math.inf
    return max(seen_s, min(seen_s + unseen_s, LONGEST_LAG_S))


def _hidden_tail(
    energy_j: float, a: Step, head_j: float, after: Level, tail: Tail, *, start_s: float, end_s: float
) -> tuple[float, float]:
    """Energy above rest between the window's end and the first level step, and its uncertainty. Unit: J.

    Two bounds, of which the least holds: (b) the counter's last step in the window, see `_carried_on`; (c) the instant
    power, where there is one: a sensor that holds or averages shows too much of a falling power, never too little.
    Where neither can be had, (a): the card drew as much as in the window until that step. The energy is taken off only
    where (b) and (c) agree, as what (b) finds alone may be the counter's lag.
    """
    tail_s = max(0.0, after.first.at_s - end_s)
    excess = max(0.0, energy_j - after.power_w * (end_s - start_s))
    most = excess * tail_s / (tail_s + end_s - start_s)
    inside = noise = None
    within = tail.last.at_s - tail.last.half_s <= end_s  # else the machine stalled, and the first reading came too late
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
    """What the window's energy exceeds that of its last step, carried on to its end; its noise; a bound. Unit: J.

    The bound takes the power after that step for the mean power before it. Where that cannot be (less was drawn; or
    the power was seen to fall after the window, so it may have begun to do so within), the card may have rested since.
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
    """Energy above rest, and below it, by the instant power up to the first level step; what may hide. Unit: J."""
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
