"""One card's instant power (field 186) around one window. It has no lag, so it shows changes before the counter."""

from statistics import fmean

from workers.energy.counter import LONGEST_LAG_S, noise_w
from workers.energy.nvml import or_none
from workers.energy.system import Card, Clock

BEFORE_INTERVAL_S = 0.03
"""Time between two readings before the window. Unit: s."""
IDLE_READINGS = 5
"""After so many readings in a row at the power before the window, the card is idle again."""


class InstantPower:
    """Readings before the window and after it; none if the card has no such field."""

    def __init__(self, card: Card, clock: Clock) -> None:
        self._card = card
        self._clock = clock
        self.open()

    def open(self) -> None:
        """Forget the last window."""
        self._before: list[tuple[float, float]] = []
        self.after: list[tuple[float, float]] = []
        """(time, W) of the readings after the window."""
        self._missing = False
        self._idle_readings = 0

    def poll_before(self) -> None:
        """Read from time to time: the counter does not show the last moments before the window."""
        if not self._missing and (not self._before or self._clock.now_s() - self._before[-1][0] >= BEFORE_INTERVAL_S):
            self._read(self._before)

    def poll_after(self, idle_w: float | None) -> None:
        """Read until the power is back at `idle_w`; shows whether the power falls at once when the work ends."""
        if self._missing or self._idle_readings == IDLE_READINGS:
            return
        self._read(self.after)
        if self.after and idle_w is not None:
            is_idle = abs(self.after[-1][1] - idle_w) <= noise_w(idle_w)
            self._idle_readings = self._idle_readings + 1 if is_idle else 0

    @property
    def moved_w(self) -> float:
        """Change of the power in the last moments before the window. Unit: W."""
        if not self._before:
            return 0.0
        since_s = self._before[-1][0] - LONGEST_LAG_S
        late = [watts for at_s, watts in self._before if at_s > since_s]
        early = [watts for at_s, watts in self._before if since_s - LONGEST_LAG_S < at_s <= since_s]
        return abs(fmean(late) - fmean(early)) if early else 0.0

    def _read(self, into: list[tuple[float, float]]) -> None:
        watts = or_none(self._card.instant_power_w)
        if watts is None:
            self._missing = True
            into.clear()
        else:
            into.append((self._clock.now_s(), watts))
