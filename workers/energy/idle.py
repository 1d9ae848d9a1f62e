"""Power at rest with the model loaded: measured once, kept by card and driver with its age, checked for drift."""

from dataclasses import dataclass

from workers.energy.counter import Level

MAX_AGE_S = 600.0
"""A baseline older than this is measured anew. Unit: s."""
DRIFT_W, DRIFT_SHARE = 5.0, 0.10
"""Rest that differs by more than either, seen right before a window, is another rest. W, and share of the baseline."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Power of one card at rest, and when that was measured on the meter's clock."""

    power_w: float
    uncertainty_w: float
    at_s: float

    def drifted(self, level: Level) -> bool:
        """Whether the card rests differently now."""
        return abs(level.power_w - self.power_w) > max(DRIFT_W, DRIFT_SHARE * self.power_w)


Baselines = dict[tuple[str, str], Baseline]
"""The baselines that were measured, by UUID and driver."""


def seen(level: Level) -> Baseline:
    """A baseline from a stretch of level power, as old as its last step."""
    return Baseline(power_w=level.power_w, uncertainty_w=level.uncertainty_w, at_s=level.steps[-1].at_s)
