"""One card's readings around one window, and what they come to. Knows NVML's counter, not the other cards."""

import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

from workers.energy.counter import (
    CounterReset,
    Estimate,
    Level,
    Tail,
    Track,
    energy_between,
    period_s,
    quantum_j,
)
from workers.energy.nvml import Card, CardFault, quietly
from workers.records import EnergyMethod

PATIENCE_S = 1.5
"""A counter that has not moved for this long is taken to stand still; none known is slower than 0.1 s. Unit: s."""
PATIENCE_PERIODS = 10
"""After this many periods without level power, the power is taken as it is, and flagged."""
MAX_OVER_LIMIT = 1.1
"""A mean power above this many times the card's limit is no measurement but a fault. Cards pass their limit only briefly."""


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
    _seen_mj: set[int] = field(default_factory=set)
    _powers: list[tuple[float, float]] | None = field(default_factory=list)
    _opened_s: float = 0.0
    _fault: str | None = None
    _reasons: list[str] = field(default_factory=list)

    def open(self, *, after: bool = False) -> None:
        """Begin to follow the counter, before the window or after it."""
        self._opened_s = time.monotonic()
        if after:
            self._before, self._track = self._track, Track()
            return
        self._track, self._before, self._tail_j, self._fault = Track(), None, None, None
        self._seen_mj, self._powers, self._reasons = set(), [], []

    def poll(self) -> None:
        """Read the card once: after the window its instant power too, which shows whether the power falls at once."""
        if self._fault is not None:
            return
        try:
            if self._before is not None and self._powers is not None:
                watts = quietly(self.card.instant_power_w)
                self._powers = None if watts is None else [*self._powers, (time.monotonic(), watts)]
            before_s = time.monotonic()
            mj = self.card.energy_mj()
            self._seen_mj.add(mj)
            self._track.add(before_s, time.monotonic(), mj / 1000)
        except CardFault as fault:
            self._fault = fault.reason
        except CounterReset:
            self._fault = "counter_reset"
        if self._before is not None and self._tail_j is None and self._fault is None:
            self._tail_j = mj / 1000
            self._fault = "counter_reset" if mj / 1000 < self._before.steps[-1].energy_j else None

    def ready(self) -> bool:
        """Whether enough has been seen: the power is level (and as it was before the window), or patience is at its end."""
        if self._fault is not None:
            return True
        waited_s = time.monotonic() - self._opened_s
        if len(self._track.steps) < 2:
            if waited_s > PATIENCE_S:
                self._fault = "counter_stalled"
            return waited_s > PATIENCE_S
        period = period_s([self._track]) or PATIENCE_S
        if waited_s > max(PATIENCE_PERIODS * period, PATIENCE_S / 3):
            return True
        level = self._track.level()
        rested = self._before.level() if self._before is not None else None
        return level is not None and (rested is None or level.power_w < 1.25 * rested.power_w + 5)

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
        return period_s([track for track in (self._before, self._track) if track is not None])

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
        estimate = energy_between(
            before,
            after,
            Tail(energy_j=self._tail_j, period_s=period, powers=self._powers or ()),
            start_s=start_s,
            end_s=end_s,
            quantum_j=quantum_j(list(self._seen_mj)),
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
