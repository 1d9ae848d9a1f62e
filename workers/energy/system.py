"""The seam between the meter and its machine: a clock, cards and samplers. Tests hand in simulated ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workers.energy.idle import Baselines


class Clock(Protocol):
    """Time that only ever goes forward. Unit: s."""

    def now_s(self) -> float:
        """The time now."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class MonotonicClock:
    """The clock of this machine."""

    now_s = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


MONOTONIC = MonotonicClock()


class Card(Protocol):
    """What the meter asks of one GPU; `nvml.Card` documents each method. All raise `CardFault`."""

    uuid: str

    def name(self) -> str: ...  # noqa: D102
    def refuse_mig(self) -> None: ...  # noqa: D102
    def energy_mj(self) -> int: ...  # noqa: D102
    def instant_power_w(self) -> float: ...  # noqa: D102
    def plain_power_w(self) -> float: ...  # noqa: D102
    def power_limit_w(self) -> float: ...  # noqa: D102
    def temperature_c(self) -> float: ...  # noqa: D102
    def sm_clock_mhz(self) -> float: ...  # noqa: D102
    def pids(self) -> frozenset[int]: ...  # noqa: D102
    def violations(self) -> dict[str, int]: ...  # noqa: D102
    def clock_events(self) -> tuple[str, ...]: ...  # noqa: D102


class PowerSampler(Protocol):
    """Samples one card's power from the moment that it is made."""

    def take(self) -> list[tuple[float, float, float]]:
        """All samples since the last call: (time, half width, power). Units: s, s, W."""


@dataclass(frozen=True, kw_only=True)
class System:
    """All that the meter takes from outside."""

    clock: Clock
    open_card: Callable[[str], Card]
    start_sampler: Callable[[str], PowerSampler]
    driver_version: Callable[[], str]
    baselines: Baselines
    """Idle power by card and driver. It is this process's: another one's CUDA context idles at another power."""
