"""The interface between the meter and its machine: a clock, cards and samplers. Tests pass simulated ones."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workers.energy.idle import Baselines


class Clock(Protocol):
    """A monotonic clock. Unit: s."""

    def now_s(self) -> float:
        """The current time."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class MonotonicClock:
    """The clock of this machine."""

    now_s = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


MONOTONIC = MonotonicClock()


class Card(Protocol):
    """One GPU as the meter uses it; `nvml.Card` documents each method. All raise `CardFault`."""

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
    """Samples one card's power from its creation on."""

    def take(self) -> list[tuple[float, float, float]]:
        """All samples since the last call: (time, half width, power). Units: s, s, W."""


@dataclass(frozen=True, kw_only=True)
class System:
    """Everything outside that the meter depends on."""

    clock: Clock
    open_card: Callable[[str], Card]
    start_sampler: Callable[[str], PowerSampler]
    driver_version: Callable[[], str]
    baselines: Baselines
    """Idle power by card and driver, of this process only: another process's CUDA context has another idle power."""
