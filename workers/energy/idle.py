"""Idle power with the model loaded: measured once, stored by card and driver with its age, checked for drift."""

from dataclasses import dataclass

from workers.energy.counter import Level

MAX_AGE_S = 600.0
"""An older baseline is measured again. Unit: s."""
DRIFT_W, DRIFT_SHARE = 5.0, 0.10
"""The idle power has drifted if it differs from the baseline by more than both. W, and share of the baseline."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Idle power of one card, and when it was measured by the meter's clock."""

    power_w: float
    uncertainty_w: float
    at_s: float

    def drifted(self, level: Level) -> bool:
        """Whether the card's idle power is different now."""
        return abs(level.power_w - self.power_w) > max(DRIFT_W, DRIFT_SHARE * self.power_w)


Baselines = dict[tuple[str, str], Baseline]
"""Measured baselines, by UUID and driver."""


def baseline_of(level: Level) -> Baseline:
    """The baseline that a stretch of level power gives, as old as its last step."""
    return Baseline(power_w=level.power_w, uncertainty_w=level.uncertainty_w, at_s=level.steps[-1].at_s)
