"""The measured window: the pure rule that decides when it may end, and the loop that follows it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter  # by name: a model's own code may replace it in its module
from time import time as unix_time

from scipy.special import stdtrit

from workers.energy import EnergyMeter
from workers.engines import TokenTimes
from workers.engines.transformers.memory import Peak, PeakMemory
from workers.records import EnergyMetrics, Window


class MeanTime:
    """Running mean of the generations' times with its uncertainty (Welford's algorithm: one pass, no cancellation)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean_s = 0.0
        self.total_s = 0.0
        self._squares = 0.0

    def add(self, duration_s: float) -> None:
        """Add one generation's time. Unit: s."""
        self.count += 1
        self.total_s += duration_s
        delta = duration_s - self.mean_s
        self.mean_s += delta / self.count
        self._squares += delta * (duration_s - self.mean_s)

    @property
    def relative_uncertainty(self) -> float | None:
        """Half width of the 95 % confidence interval of the mean over the mean; None with fewer than two. Unit: 1.

        Student's t with n - 1 degrees of freedom, because there are usually few generations: at n = 3 the normal
        distribution would give less than half of the uncertainty.
        """
        if self.count < 2 or self.mean_s <= 0:
            return None
        deviation = math.sqrt(self._squares / (self.count - 1))
        return float(stdtrit(self.count - 1, 0.975)) * deviation / math.sqrt(self.count) / self.mean_s


def may_end(rule: Window, times: MeanTime, *, energy_uncertainty: float | None = None) -> bool:
    """Whether the window may end: its figures are certain enough, or it reached a limit.

    Args:
        rule: The sweep's target and limits.
        times: The generations so far.
        energy_uncertainty: 95 % relative uncertainty that the energy would have if the window ended now; None if
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


@dataclass(frozen=True, kw_only=True)
class MeasuredWindow:
    """The figures of one window."""

    generations: list[TokenTimes]
    window_s: float
    """Length of the window; the device is synchronised at both ends. Unit: s."""
    start_unix_s: float
    end_unix_s: float
    opened_after_barrier_s: float | None
    """Time from the barrier to the window's start, by the monotonic clock; None without a barrier. Unit: s."""
    time_uncertainty: float | None
    """95 % relative uncertainty of the mean time of a generation. Unit: 1."""
    peak: Peak
    energy: EnergyMetrics


def measure_window(
    generate: Callable[[], TokenTimes],
    rule: Window,
    *,
    meter: EnergyMeter,
    peak: PeakMemory,
    synchronize: Callable[[], None],
    barrier: Callable[[], None] | None = None,
    agree: Callable[[bool], bool] = lambda decision: decision,
) -> MeasuredWindow:
    """Generate until the rule is met. The window contains only generations and the rule's arithmetic.

    `barrier` returns once every rank of the run has called it; `agree` makes the ranks of one split model end together.
    The ranks meet twice: when none of them works any more, so that shared cards are idle for the meters; and when all
    meters are ready, so that the windows open together.
    """
    times = MeanTime()
    generations: list[TokenTimes] = []
    wait_for_ranks = barrier or (lambda: None)
    barrier_at = 0.0

    def wait_again() -> None:
        nonlocal barrier_at
        wait_for_ranks()
        barrier_at = perf_counter()

    wait_for_ranks()
    peak.begin()
    meter.begin(barrier=wait_again)  # waits for the device, and for a step of the energy counters
    start_unix_s, start = unix_time(), perf_counter()
    while not agree(may_end(rule, times, energy_uncertainty=meter.relative_uncertainty_after(times.total_s))):
        generations.append(generate())
        times.add(generations[-1].e2e_s)
    synchronize()
    window_s = perf_counter() - start
    peak_memory = peak.end()
    energy = meter.end()
    return MeasuredWindow(
        generations=generations,
        window_s=window_s,
        start_unix_s=start_unix_s,
        end_unix_s=start_unix_s + window_s,
        opened_after_barrier_s=start - barrier_at if barrier else None,
        time_uncertainty=times.relative_uncertainty,
        peak=peak_memory,
        energy=energy,
    )
