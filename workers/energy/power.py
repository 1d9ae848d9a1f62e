"""A card without an energy counter: a separate process samples its power, which is then integrated."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from workers.energy.counter import Estimate, Level, Step, Tail, Track, energy_between
from workers.energy.gauge import CounterGauge, GaugeResult
from workers.energy.nvml import CardFault, EnergyReason, power_reader
from workers.energy.sampler import INTERVAL_S
from workers.energy.system import Card, Clock, PowerSampler, System
from workers.records import EnergyMethod

INSTANT_SETTLES_S, AVERAGE_SETTLES_S = 0.3, 1.5
"""How long to watch a card before and after a window; the plain reading averages over the last second. Unit: s."""
LARGEST_GAP_S = 0.25
"""Longest time between two samples inside the window; after a longer one the energy is unknown. Unit: s."""


@dataclass
class PowerGauge:
    """A card that only reports its power. Same interface as `CounterGauge`.

    The running sum of its samples is a counter that steps at each sample, and the same bracket applies to it: a sensor
    that averages or lags spreads the window's energy over the time after it, and the bracket waits until all has come.
    """

    method: ClassVar[EnergyMethod] = "nvml_power"
    card: Card
    clock: Clock
    instant: bool
    sampler: PowerSampler
    period_s: float = INTERVAL_S
    _opened_s: float = 0.0
    _samples: list[tuple[float, float, float]] = field(default_factory=list)
    _fault: EnergyReason | None = None

    def open(self, *, after: bool = False) -> None:
        """Watch from now on; before the window, drop earlier samples."""
        self._opened_s = self.clock.now_s()
        if not after:
            self._fault = None
            self._samples = []
            self._take()
            self._samples = []

    def poll(self) -> None:
        """Do nothing: the sampler reads the card."""

    def ready(self) -> bool:
        """Whether the card has been watched long enough."""
        settles_s = INSTANT_SETTLES_S if self.instant else AVERAGE_SETTLES_S
        return self._fault is not None or self.clock.now_s() - self._opened_s > settles_s

    @property
    def settled(self) -> bool:
        """Whether the power is level now."""
        self._take()
        return self._fault is None and _track(self._samples).level() is not None

    @property
    def idle_level(self) -> Level | None:
        """Power up to now, or before the window."""
        self._take()
        track = _track(self._samples)
        return track.level() or track.last_resort()

    def result(self, start_s: float, end_s: float) -> GaugeResult:
        """Energy between two moments."""
        self._take()
        before = _track([s for s in self._samples if s[0] < start_s])
        idle, after = before.level() or before.last_resort(), self._after(end_s)
        gaps = [b[0] - a[0] for a, b in pairwise(self._samples) if a[0] < end_s and b[0] > start_s]
        if self._fault is None and (idle is None or after is None or max(gaps, default=1.0) > LARGEST_GAP_S):
            self._fault = "power_samples_missing"
        if self._fault is not None or idle is None or after is None:
            return GaugeResult(estimate=None, before=idle, reasons=(self._fault or "power_samples_missing",))
        level, tail = after
        estimate = energy_between(idle, level, tail, start_s=start_s, end_s=end_s, quantum_j=0.0)
        # Between two samples the power may have jumped at any moment: half an interval at each end of the window.
        jump_j = abs(estimate.energy_j / (end_s - start_s) - idle.power_w) * max(gaps)
        estimate = Estimate(energy_j=estimate.energy_j, uncertainty_j=estimate.uncertainty_j + jump_j)
        flags: dict[EnergyReason, bool] = {
            "power_sampled": True,
            "power_averaged": not self.instant,
            "unsettled_before": before.level() is None,
        }
        return GaugeResult(
            estimate=estimate, before=idle, reasons=tuple(reason for reason, flagged in flags.items() if flagged)
        )

    def _after(self, end_s: float) -> tuple[Level, Tail] | None:
        """The level after the window, by the same running sum as before it, and that sum's steps around its end."""
        track = _track(self._samples)
        inside = [step for step in track.steps if step.at_s <= end_s]
        after = Track(steps=[step for step in track.steps if step.at_s > end_s])
        level = after.level() or after.last_resort()
        return (level, Tail(last=inside[-1], first=after.steps[0])) if inside and level is not None else None

    def _take(self) -> None:
        if self._fault is None:
            try:
                self._samples += self.sampler.take()
            except CardFault as fault:
                self._fault = fault.reason


Gauge = CounterGauge | PowerGauge


def gauge_for(card: Card, system: System) -> Gauge:
    """The best gauge that a card supports.

    Raises:
        CardFault: the card reports neither energy nor power; the reason is the counter's.

    """
    try:
        card.energy_mj()
    except CardFault as fault:
        try:
            _, instant = power_reader(card)
        except CardFault:
            raise fault from None
        return PowerGauge(card, system.clock, instant, system.start_sampler(card.uuid))
    return CounterGauge(card, system.clock)


def _track(samples: list[tuple[float, float, float]]) -> Track:
    """Samples as the steps of a counter: the energy up to each sample, by the trapezoidal rule."""
    total, steps = 0.0, []
    for (a_s, _, a_w), (b_s, half_s, b_w) in pairwise(samples):
        total += (a_w + b_w) / 2 * (b_s - a_s)
        steps.append(Step(at_s=b_s, half_s=half_s, energy_j=total))
    return Track(steps=steps)
