"""When a measured window may end: a pure rule over the times seen so far."""

import math

from scipy.special import stdtrit

from workers.records import Window


class MeanTime:
    """Running mean of the generations' times with its uncertainty (Welford's recurrence: one pass, no cancellation)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean_s = 0.0
        self.total_s = 0.0
        self._squares = 0.0

    def add(self, duration_s: float) -> None:
        """Take one generation's time in. Unit: s."""
        self.count += 1
        self.total_s += duration_s
        delta = duration_s - self.mean_s
        self.mean_s += delta / self.count
        self._squares += delta * (duration_s - self.mean_s)

    @property
    def relative_uncertainty(self) -> float | None:
        """Half width of the 95 % confidence interval of the mean over the mean; null with fewer than two. Unit: 1.

        Student's t with n - 1 degrees of freedom, as few generations are the rule: at n = 3 the normal distribution
        would state less than half of the uncertainty.
        """
        if self.count < 2 or self.mean_s <= 0:
            return None
        deviation = math.sqrt(self._squares / (self.count - 1))
        return float(stdtrit(self.count - 1, 0.975)) * deviation / math.sqrt(self.count) / self.mean_s


def may_end(rule: Window, times: MeanTime, *, energy_uncertainty: float | None = None) -> bool:
    """Whether the window is long enough: certain enough, or at a cap.

    Args:
        rule: The sweep's target and caps.
        times: The generations so far.
        energy_uncertainty: 95 % relative uncertainty that the energy would have if the window ended now; null where
            energy is not measured. Unit: 1.
    """
    if times.count >= rule.max_generations or times.total_s >= rule.max_s:
        return times.count > 0
    if times.count < rule.min_generations:
        return False
    time_uncertainty = times.relative_uncertainty
    if time_uncertainty is None or time_uncertainty > rule.relative_uncertainty:
        return False
    return energy_uncertainty is None or energy_uncertainty <= rule.relative_uncertainty
