"""One card's instant power (field 186) around one window. It has no lag, so it shows what the counter does not yet."""

from statistics import fmean

from workers.energy.counter import LONGEST_LAG_S, noise_w
from workers.energy.nvml import quietly
from workers.energy.system import Card, Clock

BEFORE_INTERVAL_S = 0.03
"""Time between two readings before the window. Unit: s."""
REST_READS = 5
"""So many readings in a row at the power before the window, and the card has come to rest."""


class InstantPower:
    """Readings before the window and after it; none where the card has no such field."""

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
        self._rest_reads = 0

    def poll_before(self) -> None:
        """Read now and then: the counter does not show the last moments before the window."""
        if not self._missing and (not self._before or self._clock.now_s() - self._before[-1][0] >= BEFORE_INTERVAL_S):
            self._read(self._before)

    def poll_after(self, rest_w: float | None) -> None:
        """Read until the power is back at `rest_w`: it shows whether the power falls at once when the work ends."""
        if self._missing or self._rest_reads == REST_READS:
            return
        self._read(self.after)
        if self.after and rest_w is not None:
            back = abs(self.after[-1][1] - rest_w) <= noise_w(rest_w)
            self._rest_reads = self._rest_reads + 1 if back else 0

    @property
    def moved_w(self) -> float:
        """By how much the power has moved in the last moments before the window. Unit: W."""
        if not self._before:
            return 0.0
        since_s = self._before[-1][0] - LONGEST_LAG_S
        late = [watts for at_s, watts in self._before if at_s > since_s]
        early = [watts for at_s, watts in self._before if since_s - LONGEST_LAG_S < at_s <= since_s]
        return abs(fmean(late) - fmean(early)) if early else 0.0

    def _read(self, into: list[tuple[float, float]]) -> None:
        watts = quietly(self._card.instant_power_w)
        if watts is None:
            self._missing = True
            into.clear()
        else:
            into.append((self._clock.now_s(), watts))
