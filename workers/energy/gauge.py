"""One card's readings around one window, and what they come to. Knows NVML's counter, not the other cards."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

from workers.energy.counter import (
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
from workers.energy.nvml import Card, CardFault, quietly
from workers.records import EnergyMethod

PATIENCE_S = 1.5
"""A counter that has not moved for this long is taken to stand still; none known is slower than 0.1 s. Unit: s."""
PATIENCE_PERIODS = 10
"""After this many periods without level power, the power is taken as it is, and flagged."""
REST_READS = 5
"""So many instant-power readings in a row at the power before the window, and the card has come to rest."""
MAX_OVER_LIMIT = 1.1
"""A mean power above this many times the card's limit is a fault: cards pass their limit only briefly."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a gauge found out about one card and one window."""

    estimate: Estimate | None
    before: Level | None = None
    period_s: float | None = None
    reasons: tuple[str, ...] = ()

    def refused(self, reason: str) -> "Found":
        """The same without its figure, which cannot be."""
        return replace(self, estimate=None, reasons=(*self.reasons, reason))


@dataclass
class CounterGauge:
    """A card with an energy counter. `poll()` it until `ready()`, before the window and again after it."""

    method: ClassVar[EnergyMethod] = "nvml_counter"
    card: Card
    _track: Track = field(default_factory=Track)
    _before: Track | None = None
    _tail_j: float | None = None
    _common_mj: int = 0
    _powers: list[tuple[float, float]] | None = field(default_factory=list)
    _rested_w: float | None = None
    _rest_reads: int = 0
    _opened_s: float = 0.0
    _fault: str | None = None
    _reasons: list[str] = field(default_factory=list)

    def open(self, *, after: bool = False) -> None:
        """Begin to follow the counter, before the window or after it."""
        self._opened_s = time.monotonic()
        if after:
            level = self._track.level()
            self._before, self._track = self._track, Track()
            self._rested_w = level.power_w if level is not None else None
            return
        self._track, self._before, self._tail_j, self._fault = Track(), None, None, None
        self._rested_w, self._rest_reads = None, 0
        self._powers, self._reasons = [], []

    def poll(self) -> None:
        """Read the card once. Nothing is read any more once it has failed."""
        if self._fault is not None:
            return
        try:
            if self._before is not None:
                self._poll_power()
            before_s = time.monotonic()
            mj = self.card.energy_mj()
            # Of all values, not of their differences: at level power those are alike.
            self._common_mj = math.gcd(self._common_mj, mj)
            quantum_j = resolution_j(self._common_mj)
            for track in self._tracks:
                track.quantum_j = quantum_j
            self._track.add(before_s, time.monotonic(), mj / 1000)
            if self._before is not None and self._tail_j is None:
                self._tail_j = self._before.carry_on(mj / 1000)
        except CardFault as fault:
            self._fault = fault.reason
        except CounterResetError:
            self._fault = "counter_reset"

    def _poll_power(self) -> None:
        """Read the instant power until it is down: it shows whether the power falls at once when the work ends."""
        if self._powers is None or self._rest_reads == REST_READS:
            return
        watts = quietly(self.card.instant_power_w)
        if watts is None:
            self._powers = None
            return
        self._powers.append((time.monotonic(), watts))
        rest = self._rested_w
        self._rest_reads = self._rest_reads + 1 if rest is not None and watts <= rest + noise_w(rest) else 0

    def ready(self) -> bool:
        """Whether enough has been seen: the power is level, and as before the window, or patience is at its end."""
        if self._fault is not None:
            return True
        waited_s = time.monotonic() - self._opened_s
        if len(self._track.steps) < 2:
            if waited_s > PATIENCE_S:
                self._fault = "counter_stalled"
            return waited_s > PATIENCE_S
        period = period_s([self._track]) or PATIENCE_S
        if waited_s > max(PATIENCE_PERIODS * period, PATIENCE_S / 2):
            return True
        level = self._track.level()
        return level is not None and (self._rested_w is None or level.power_w < 1.25 * self._rested_w + 5)

    @property
    def settled(self) -> bool:
        """Whether the power is level now."""
        return self._fault is None and self._track.level() is not None

    @property
    def resting(self) -> Level | None:
        """Power before the window."""
        return self._level(self._before or self._track, "unsettled_before")

    @property
    def period_s(self) -> float | None:
        """How often the counter steps, by all that was seen of it. Unit: s."""
        return period_s(self._tracks)

    @property
    def _tracks(self) -> list[Track]:
        return [track for track in (self._before, self._track) if track is not None]

    def result(self, start_s: float, end_s: float) -> Found:
        """Energy between two moments."""
        period = self.period_s
        before = self.resting
        after = self._level(self._track, "unsettled_after")
        if self._fault is None and (before is None or after is None or period is None or self._tail_j is None):
            self._fault = "counter_stalled"
        if self._fault is not None:
            return Found(estimate=None, before=before, period_s=period, reasons=(self._fault,))
        assert before is not None and after is not None and period is not None and self._tail_j is not None  # noqa: PT018 - one fact, for the type checker
        first = self._track.steps[0]
        last = step_before(first, self._tail_j, self._tracks)
        estimate = energy_between(
            before,
            after,
            Tail(last=last, first=first, powers=self._powers or ()),
            start_s=start_s,
            end_s=end_s,
            quantum_j=self._track.quantum_j,
        )
        if end_s - start_s < 2 * period:
            self._reasons.append("short_window")
        return Found(estimate=estimate, before=before, period_s=period, reasons=tuple(self._reasons))

    def _level(self, track: Track, reason: str) -> Level | None:
        level = track.level()
        if level is None:
            level = track.last_resort()
            self._reasons += [reason] if level is not None and reason not in self._reasons else []
        return level
