"""Measured windows in virtual time: a card's power around each, and the meter's figure beside the true energy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.nvml_sim.virtual import IDLE, Load, VirtualCard, VirtualSystem
from workers.energy import EnergyMeter
from workers.records import EnergyMetrics

NO_POWERCAP = Path("/nonexistent/powercap")

Shape = Sequence[tuple[float, float, float]]
"""Power over time, as a list of (s, W, s): duration, power, and the length of the ramp to it."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One window: the machine, its cards and the power that each of them draws."""

    earlier: Shape = ()
    """Power before `begin()`."""
    meanwhile: Shape = ()
    """Power while `begin()` waits for level power."""
    work: Shape
    """Power in the window."""
    after: Shape = ()
    """Power after the window; idle by default."""
    idle_w: float = 60.0
    load: Load = IDLE
    cards: int = 1
    card: dict[str, Any] = field(default_factory=dict)
    """Fields to set on every card."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One card's measured energy, and the true one between the meter's start and end times. Unit: J."""

    energy_j: float | None
    uncertainty_j: float | None
    true_j: float

    @property
    def covered(self) -> bool:
        """Whether the true energy lies within the uncertainty."""
        return self.energy_j is not None and abs(self.energy_j - self.true_j) <= self.uncertainty_j


@dataclass(frozen=True, kw_only=True)
class Metered:
    """One window: the record, and each card's figure."""

    record: EnergyMetrics
    figures: list[Figure]

    def __iter__(self):
        """Unpack a window of one card: `record, figure = ...`."""
        return iter((self.record, *self.figures))


def system_of(scenario: Scenario, seed: int = 0) -> VirtualSystem:
    """The machine of a scenario, before its window."""
    system = VirtualSystem(seed=seed, load=scenario.load, cards=scenario.cards, idle_w=scenario.idle_w)
    for card in system.cards:
        for name, value in scenario.card.items():
            setattr(card, name, value)
    return system


def meter_of(system: VirtualSystem, **more: Any) -> EnergyMeter:
    """A meter of all cards of a machine."""
    return EnergyMeter(system.uuids, **{"system": system.ports, "powercap": NO_POWERCAP, **more})


def metered(scenario: Scenario, seed: int = 0) -> Metered:
    """Measure a scenario's window."""
    system = system_of(scenario, seed)
    return window(system, meter_of(system), scenario)


def window(system: VirtualSystem, meter: EnergyMeter, scenario: Scenario) -> Metered:
    """Measure a window on an existing machine."""
    plan(system, scenario.earlier)
    system.clock.at_s += _length_s(scenario.earlier)
    plan(system, scenario.meanwhile)
    meter.begin()
    start_s = meter._start_s
    system.clock.now_s()  # the work starts a moment later
    plan(system, [*scenario.work, *(scenario.after or [(0.0, scenario.idle_w, 0.0)])])
    system.clock.sleep(_length_s(scenario.work))
    record = meter.end()
    return Metered(record=record, figures=figures(system, record, start_s))


def figures(system: VirtualSystem, record: EnergyMetrics, start_s: float) -> list[Figure]:
    """The figures of a window that began at `start_s`."""
    truths = [c.power.energy_j(start_s + record.duration_s) - c.power.energy_j(start_s) for c in system.cards]
    return [
        Figure(energy_j=gpu.energy_j, uncertainty_j=gpu.energy_uncertainty_j, true_j=true_j)
        for gpu, true_j in zip(record.gpus, truths, strict=False)
    ]


def _length_s(shape: Shape) -> float:
    return sum(seconds for seconds, _, _ in shape)


def plan(system: VirtualSystem, shape: Shape) -> None:
    """Set the power of every card from now on."""
    for card in system.cards:
        _plan_card(card, shape)


def _plan_card(card: VirtualCard, shape: Shape) -> None:
    after_s = 0.0
    for seconds, watts, ramp_s in shape:
        card.set(watts, after_s=after_s, ramp_s=ramp_s)
        after_s += seconds
