"""The readings of one card's energy counter around one window, and the energy that follows from them."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

from workers.energy.counter import (
    LONGEST_LAG_S,
    CounterResetError,
    Estimate,
    Level,
    Tail,
    Track,
    energy_between,
    noise_w,
    period_s,
    resolution_j,
    step_before,
)
from workers.energy.instant import InstantPower
from workers.energy.nvml import CardFault, EnergyReason
from workers.energy.system import Card, Clock
from workers.records import EnergyMethod

STALLED_S = 1.5
"""A counter that has not moved for this long has stalled; no known counter has a period above 0.1 s. Unit: s."""
PATIENCE_S, PATIENCE_PERIODS = 0.75, 10
"""If the power is not level after both, it is used as it is, and flagged. s, and periods of the counter."""
LONGEST_INTERVAL_S = 0.05
"""Longest time between two readings that counts as watching: a stall of the machine is none of the counter. Unit: s."""
MAX_OVER_LIMIT = 1.1
"""A mean power above this many times the card's limit is a fault: cards exceed their limit only briefly."""


@dataclass(frozen=True, kw_only=True)
class GaugeResult:
    """A gauge's result for one card and one window."""

    estimate: Estimate | None
    before: Level | None = None
    period_s: float | None = None
    reasons: tuple[EnergyReason, ...] = ()

    def refused(self, reason: EnergyReason) -> "GaugeResult":
        """The same without its figure, which is impossible for that reason."""
        return replace(self, estimate=None, reasons=(*self.reasons, reason))


@dataclass
class CounterGauge:
    """A card with an energy counter. `poll()` it until `ready()`, before the window and again after it."""

    method: ClassVar[EnergyMethod] = "nvml_counter"
    card: Card
    clock: Clock
    _track: Track = field(default_factory=Track)
    _before: Track | None = None
    _tail_j: float | None = None
    _common_mj: int = 0
    _last_mj: int | None = None
    _idle_w: float | None = None
    _watched_s: float = 0.0
    _polled_s: float = 0.0
    _fault: EnergyReason | None = None
    _doubts: list[EnergyReason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._instant = InstantPower(self.card, self.clock)

    def open(self, *, after: bool = False) -> None:
        """Start to follow the counter, before the window or after it."""
        opened_s = self._polled_s = self.clock.now_s()
        self._watched_s, self._last_mj = 0.0, None
        if after:
            level = self._track.level()
            self._before, self._track = self._track, Track(opened_s=opened_s)
            self._idle_w = level.power_w if level is not None else None
            return
        self._track = Track(opened_s=opened_s)
        self._before, self._tail_j, self._fault, self._idle_w, self._doubts = None, None, None, None, []
        self._instant.open()

    def poll(self) -> None:
        """Read the card once; does nothing after a fault."""
        if self._fault is not None:
            return
        try:
            if self._before is None:
                self._instant.poll_before()
            else:
                self._instant.poll_after(self._idle_w)
            before_s = self.clock.now_s()
            self._watched_s += min(before_s - self._polled_s, LONGEST_INTERVAL_S)
            self._polled_s = before_s
            mj = self.card.energy_mj()
            self._track.add(before_s, self.clock.now_s(), mj / 1000)
            self._refine_resolution(mj)
            if self._before is not None and self._tail_j is None:
                self._tail_j = self._before.carry_on(mj / 1000)
        except CardFault as fault:
            self._fault = fault.reason
        except CounterResetError:
            self._fault = "counter_reset"

    def _refine_resolution(self, mj: int) -> None:
        """Update the resolution from all values, not from their differences: with level power, those are all equal."""
        if mj == self._last_mj:
            return
        self._last_mj, self._common_mj = mj, math.gcd(self._common_mj, mj)
        for track in self._tracks:
            track.quantum_j = resolution_j(self._common_mj)

    def ready(self) -> bool:
        """Whether the power is level, and after the window as low as before it, or the patience has run out."""
        if self._fault is not None:
            return True
        if len(self._track.steps) < 2:
            if self._watched_s > STALLED_S:
                self._fault = "counter_stalled"
            return self._watched_s > STALLED_S
        level_s = self._watched_s - LONGEST_LAG_S
        if level_s > PATIENCE_S and level_s > PATIENCE_PERIODS * (period_s([self._track]) or 0.0):
            return True
        level = self._track.level()
        if level is None:
            return False
        if self._before is None:
            return self._instant.moved_w <= noise_w(level.power_w)
        return self._idle_w is None or level.power_w < 1.25 * self._idle_w + 5

    @property
    def settled(self) -> bool:
        """Whether the power is level now."""
        return self._fault is None and self._track.level() is not None

    @property
    def idle_level(self) -> Level | None:
        """Power before the window."""
        return self._level(self._before or self._track, "unsettled_before")

    @property
    def period_s(self) -> float | None:
        """Observed period of the counter. Unit: s."""
        return period_s(self._tracks)

    @property
    def _tracks(self) -> list[Track]:
        return [track for track in (self._before, self._track) if track is not None]

    def result(self, start_s: float, end_s: float) -> GaugeResult:
        """Energy between two moments."""
        period = self.period_s
        before = self.idle_level
        after = self._level(self._track, "unsettled_after")
        if self._fault is None and (before is None or after is None or period is None or self._tail_j is None):
            self._fault = "counter_stalled"
        if self._fault is not None:
            return GaugeResult(estimate=None, before=before, period_s=period, reasons=(self._fault,))
        assert before is not None and after is not None and period is not None and self._tail_j is not None  # noqa: PT018 - one fact, for the type checker
        first = self._track.steps[0]
        last = step_before(first, self._tail_j, self._tracks)
        estimate = energy_between(
            before,
            after,
            Tail(last=last, first=first, powers=self._instant.after),
            start_s=start_s,
            end_s=end_s,
            quantum_j=self._track.quantum_j,
        )
        moved_w = self._instant.moved_w
        if moved_w > noise_w(before.power_w):
            self._doubt("unsettled_before")
        estimate = replace(estimate, uncertainty_j=estimate.uncertainty_j + moved_w * LONGEST_LAG_S)
        if end_s - start_s < 2 * period:
            self._doubt("short_window")
        return GaugeResult(estimate=estimate, before=before, period_s=period, reasons=tuple(self._doubts))

    def _level(self, track: Track, reason: EnergyReason) -> Level | None:
        level = track.level()
        if level is None:
            level = track.last_resort()
            if level is not None:
                self._doubt(reason)
        return level

    def _doubt(self, reason: EnergyReason) -> None:
        if reason not in self._doubts:
            self._doubts.append(reason)
