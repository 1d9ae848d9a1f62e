"""The same simulated cards in virtual time: nothing waits, so one second of measuring takes a few milliseconds.

    system = VirtualSystem(seed=7, load=BUSY, cards=2)
    system.cards[0].period_s = 0.02
    meter = EnergyMeter(system.uuids, system=system.ports)

The clock advances only when code sleeps, reads a card or reads the time. Each of these takes a time drawn from the
machine's `Load`, which also simulates a machine that is busy or stalls. The same seed gives the same result.
`nvml_sim.c` implements the same physics in real time; `test_virtual.py` compares the two.
"""

import functools
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.energy.nvml import CardFault, EnergyReason
from workers.energy.sampler import INTERVAL_S
from workers.energy.system import System

START_S = 1000.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """Delays of a process on the machine. Units: s; shares of the moments at which a delay is possible."""

    python_s: float = 3e-6
    """Mean time between two readings of the clock."""
    wake_s: float = 1e-4
    """Mean time by which a sleep is too long."""
    slice_share: float = 0.0
    """Share of moments at which another process gets the core."""
    slice_s: tuple[float, float] = (0.002, 0.012)
    """Shortest and longest time for which it does."""
    stall_share: float = 0.0
    """Share of moments at which the machine stalls."""
    stall_s: tuple[float, float] = (0.03, 0.3)
    """Shortest and longest stall."""


IDLE = Load()
BUSY = Load(wake_s=0.002, slice_share=0.003)
STALLING = Load(wake_s=0.001, slice_share=0.003, stall_share=0.0015)

_DRAWS = 1 << 16


@functools.cache
def _delays(load: Load, mean_s: float) -> list[float]:
    """A sequence of delays, to be used from any index on."""
    rng = np.random.default_rng(20)
    delays = rng.exponential(mean_s, _DRAWS)
    for share, bounds in ((load.slice_share, load.slice_s), (load.stall_share, load.stall_s)):
        delays += np.where(rng.random(_DRAWS) < share, rng.uniform(*bounds, _DRAWS), 0.0)
    return [float(delay) for delay in delays]


class VirtualClock:
    """A clock that advances when it is read and when code sleeps."""

    def __init__(self, load: Load, first: int) -> None:
        self.at_s = START_S
        self._pauses = _from(_delays(load, load.python_s), first)
        self._oversleeps = _from(_delays(load, load.wake_s), first)

    def now_s(self) -> float:
        """The current time; the next reading is a little later."""
        now = self.at_s
        self.at_s = now + next(self._pauses)
        return now

    def sleep(self, seconds: float) -> None:
        """Sleep, plus the delay of the machine."""
        self.at_s += seconds + next(self._oversleeps)


def _from(delays: Sequence[float], first: int) -> Iterator[float]:
    return itertools.chain(itertools.islice(delays, first, None), itertools.cycle(delays))


@dataclass
class Power:
    """True power over time: after each event a linear ramp to the new power, then constant."""

    _at_s: list[float] = field(default_factory=list)
    _events: list[tuple[float, float, float, float]] = field(default_factory=list)  # ramp, from W, to W, J up to it

    def set(self, watts: float, *, at_s: float, ramp_s: float = 0.0) -> None:
        """Set the power to `watts` from `at_s` on, reached over `ramp_s`. Drops later events."""
        while self._at_s and self._at_s[-1] >= at_s:
            self._at_s.pop()
            self._events.pop()
        before, energy_j = (self.power_w(at_s), self.energy_j(at_s)) if self._at_s else (watts, 0.0)
        self._at_s.append(at_s)
        self._events.append((ramp_s, before, watts, energy_j))

    def power_w(self, at_s: float) -> float:
        """Power at a moment. Unit: W."""
        index = max(0, bisect_right(self._at_s, at_s) - 1)
        ramp_s, from_w, to_w, _ = self._events[index]
        t = at_s - self._at_s[index]
        return to_w if t >= ramp_s else from_w + (to_w - from_w) * max(0.0, t) / ramp_s

    def energy_j(self, at_s: float) -> float:
        """Energy drawn up to a moment, exactly. Unit: J."""
        index = max(0, bisect_right(self._at_s, at_s) - 1)
        ramp_s, from_w, to_w, energy_j = self._events[index]
        t = at_s - self._at_s[index]
        if t <= 0:
            return energy_j + from_w * t
        if t >= ramp_s:
            return energy_j + (from_w + to_w) / 2 * ramp_s + to_w * (t - ramp_s)
        return energy_j + from_w * t + (to_w - from_w) * t * t / (2 * ramp_s)


_SMEAR_PARTS = 64


@dataclass
class VirtualCard:
    """One card. Fields may change at any time. `faults` maps the name of a method to the reason of its fault."""

    uuid: str
    clock: VirtualClock
    power: Power = field(default_factory=Power)
    period_s: float = 0.1
    phase_s: float = 0.0
    jitter_s: float = 0.0
    lag_s: float = 0.0
    smear_s: float = 0.0
    quantum_mj: int = 1
    counter_start_mj: int = 123_456_789
    reset_at_s: float = math.inf
    stall_at_s: float = math.inf
    lost_at_s: float = math.inf
    plain_average_s: float = 1.0
    instant_hold_s: float = 0.0
    instant_average_s: float = 0.0
    read_s: float = 1e-4
    """Duration of a reading of counter or power; the value is taken at some moment within it."""
    limit_w: float = 700.0
    violation_ns: dict[str, int] = field(default_factory=lambda: {"power": 0, "thermal": 0})
    events: tuple[str, ...] = ()
    processes: frozenset[int] = frozenset()
    faults: dict[str, EnergyReason] = field(default_factory=dict)
    calls: int = 0
    _shown: tuple[float, float, int] = (math.inf, -math.inf, 0)  # the counter shows a value from a moment until another

    def set(self, watts: float, *, after_s: float = 0.0, ramp_s: float = 0.0) -> None:
        """Set the power to `watts` from now, or `after_s` later, reached over `ramp_s`."""
        self.power.set(watts, at_s=self.clock.at_s + after_s, ramp_s=ramp_s)

    def _enter(self, method: str) -> None:
        self.calls += 1
        if self.clock.at_s > self.lost_at_s:
            raise CardFault("gpu_lost")
        if method in self.faults:
            raise CardFault(self.faults[method])

    def _read(self, method: str, value: Callable[[float], float]) -> float:
        """Read a value at some moment within the duration of the reading."""
        self._enter(method)
        clock = self.clock
        clock.at_s += self.read_s * (share := self.calls * 0.618033988749895 % 1)
        clock.now_s()  # the scheduler may interrupt before the value is taken, and after
        result = value(clock.at_s)
        clock.at_s += self.read_s * (1 - share)
        return result

    def energy_mj(self) -> int:
        """Read the energy counter. Unit: mJ."""
        return int(self._read("energy_mj", self.counter_mj))

    def instant_power_w(self) -> float:
        """Read the instant power. Unit: W."""
        return self._read("instant_power_w", self.instant_at)

    def plain_power_w(self) -> float:
        """Read the plain power. Unit: W."""
        return self._read("plain_power_w", self.plain_at)

    def name(self) -> str:
        """Name of the card."""
        self._enter("name")
        return "Virtual H100"

    def refuse_mig(self) -> None:
        """Raise the fault of this name, if any."""
        self._enter("refuse_mig")

    def power_limit_w(self) -> float:
        """Enforced power limit. Unit: W."""
        self._enter("power_limit_w")
        return self.limit_w

    def temperature_c(self) -> float:
        """Core temperature. Unit: degree Celsius."""
        self._enter("temperature_c")
        return 40.0

    def sm_clock_mhz(self) -> float:
        """SM clock. Unit: MHz."""
        self._enter("sm_clock_mhz")
        return 1980.0

    def pids(self) -> frozenset[int]:
        """Processes that compute on the card."""
        self._enter("pids")
        return self.processes

    def violations(self) -> dict[str, int]:
        """Throttled time so far, by cause."""
        self._enter("violations")
        return dict(self.violation_ns)

    def clock_events(self) -> tuple[str, ...]:
        """Causes that throttle the card now."""
        self._enter("clock_events")
        return self.events

    def counter_mj(self, at_s: float) -> int:
        """Value of the energy counter at a moment. Unit: mJ."""
        since_s, until_s, shown_mj = self._shown
        if since_s <= at_s < until_s:
            return shown_mj
        k = math.floor((min(at_s, self.stall_at_s) - self.phase_s) / self.period_s) + 1
        while self._step_s(k) > min(at_s, self.stall_at_s):
            k -= 1
        upto_s = self._step_s(k) - self.lag_s
        parts = _SMEAR_PARTS if self.smear_s else 1
        total_j = math.fsum(self.power.energy_j(upto_s - self.smear_s * i / parts) for i in range(parts)) / parts
        since_j = -self.counter_start_mj / 1000
        if at_s > self.reset_at_s:
            since_j = self.power.energy_j(self.reset_at_s)
        mj = max(0, math.floor((total_j - since_j) * 1000))
        mj -= mj % self.quantum_mj
        if math.inf == self.reset_at_s == self.stall_at_s:
            self._shown = at_s, self._step_s(k + 1), mj
        return mj

    def _step_s(self, k: int) -> float:
        """Time of the k-th step; its delay is a hash of k. Unit: s."""
        late = _hash(k) % round(self.jitter_s * 1e9) / 1e9 if self.jitter_s else 0.0
        return self.phase_s + k * self.period_s + late

    def instant_at(self, at_s: float) -> float:
        """Instant power reading at a moment. Unit: W."""
        if self.instant_hold_s:
            at_s -= (at_s - self.phase_s) % self.instant_hold_s
        return self._mean_w(at_s, self.instant_average_s)

    def plain_at(self, at_s: float) -> float:
        """Plain power reading at a moment. Unit: W."""
        return self._mean_w(at_s, self.plain_average_s)

    def _mean_w(self, at_s: float, over_s: float) -> float:
        if over_s <= 0:
            return self.power.power_w(at_s)
        return (self.power.energy_j(at_s) - self.power.energy_j(at_s - over_s)) / over_s


def _hash(k: int) -> int:
    mask = (1 << 64) - 1
    h = k * 0x9E3779B97F4A7C15 & mask
    h = (h ^ h >> 31) * 0xBF58476D1CE4E5B9 & mask
    return h ^ h >> 29


@dataclass
class VirtualSampler:
    """The process that samples a card's power: it has the same clock and its own delays."""

    card: VirtualCard
    delays: Iterator[float]
    rng: np.random.Generator
    died: bool = False
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_s = self.card.clock.at_s

    def sleep(self, seconds: float) -> None:
        """Take no samples for this time, as on a machine that stalls."""
        self._next_s = self.card.clock.at_s + seconds

    def take(self) -> list[tuple[float, float, float]]:
        """All samples since the last call: (time, half width, power). Units: s, s, W."""
        if self.died:
            raise CardFault("power_sampler_failed")
        samples = []
        instant = "instant_power_w" not in self.card.faults
        while self._next_s < self.card.clock.at_s:
            took_s = self.card.read_s + next(self.delays)
            at_s = self._next_s + took_s * self.rng.random()
            watts = self.card.instant_at(at_s) if instant else self.card.plain_at(at_s)
            samples.append((self._next_s + took_s / 2, took_s / 2, watts))
            self._next_s += max(took_s, INTERVAL_S) + next(self.delays)
        self.card.clock.sleep(0.001)
        return samples


class VirtualSystem:
    """A machine with idle cards, and `ports`, the `System` for a meter."""

    def __init__(self, *, seed: int = 0, load: Load = IDLE, cards: int = 1, idle_w: float = 60.0) -> None:
        rng = np.random.default_rng(seed)
        self.clock = VirtualClock(load, int(rng.integers(_DRAWS)))
        self.cards = [VirtualCard(f"GPU-{index:08d}-0000-0000-0000-000000000000", self.clock) for index in range(cards)]
        for card in self.cards:
            card.phase_s = float(rng.uniform(0, card.period_s))
            card.power.set(idle_w, at_s=self.clock.at_s - 10)
        self.samplers: list[VirtualSampler] = []
        self._load = load
        self._rng = rng
        self.ports = System(
            clock=self.clock,
            open_card=self._open,
            start_sampler=self._start_sampler,
            driver_version=lambda: "580.00 (virtual)",
            baselines={},
        )

    @property
    def uuids(self) -> list[str]:
        """UUIDs of the cards."""
        return [card.uuid for card in self.cards]

    def _open(self, uuid: str) -> VirtualCard:
        card = next((card for card in self.cards if card.uuid == uuid), None)
        if card is None:
            raise CardFault("unknown_uuid")
        card.name()
        return card

    def _start_sampler(self, uuid: str) -> VirtualSampler:
        delays = _from(_delays(self._load, self._load.wake_s), int(self._rng.integers(_DRAWS)))
        self.samplers.append(VirtualSampler(self._open(uuid), delays, self._rng))
        return self.samplers[-1]
