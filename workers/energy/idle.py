"""Power at rest with the model loaded: measured once, kept by card and driver with its age, checked for drift."""

import time
from dataclasses import dataclass

from workers.energy.counter import Level

MAX_AGE_S = 600.0
"""A baseline older than this is measured anew. Unit: s."""
DRIFT_W, DRIFT_SHARE = 5.0, 0.10
"""Rest that differs by more than either, seen right before a window, is another rest. W, and share of the baseline."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Power of one card at rest, and when (monotonic clock) that was measured."""

    power_w: float
    uncertainty_w: float
    at_s: float

    def age_s(self) -> float:
        """Time since it was measured. Unit: s."""
        return time.monotonic() - self.at_s

    def drifted(self, level: Level) -> bool:
        """Whether the card rests differently now."""
        return abs(level.power_w - self.power_w) > max(DRIFT_W, DRIFT_SHARE * self.power_w)


_known: dict[tuple[str, str], Baseline] = {}  # of this process: another one's context rests at another power


def known(uuid: str, driver: str) -> Baseline | None:
    """The baseline of a card under a driver, however old."""
    return _known.get((uuid, driver))


def seen(level: Level) -> Baseline:
    """A baseline from a stretch of level power, as old as its last step."""
    return Baseline(power_w=level.power_w, uncertainty_w=level.uncertainty_w, at_s=level.steps[-1].at_s)


def remember(uuid: str, driver: str, level: Level) -> None:
    """Keep what was measured."""
    _known[uuid, driver] = seen(level)


def forget(uuid: str, driver: str) -> None:
    """Drop a baseline that no longer holds, so that it is measured anew."""
    _known.pop((uuid, driver), None)
