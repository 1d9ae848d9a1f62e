"""The baseline: measured, stored with its age, replaced when the idle power changes. In virtual time."""

import pytest

from testbed.nvml_sim.virtual import VirtualSystem
from tests.support.energy_windows import Scenario, meter_of, window

BUSY = Scenario(work=[(0.3, 350.0, 0.0)])


def idle_w(system: VirtualSystem, **options: float) -> list[float]:
    return list(meter_of(system).measure_idle(0.4, **options).values())


def test_the_baseline_is_measured_and_stored_with_its_age() -> None:
    system = VirtualSystem()
    measured, calls = idle_w(system), system.cards[0].calls
    assert measured == [pytest.approx(60, rel=0.03)]
    system.clock.at_s += 7.0
    assert idle_w(system) == measured
    assert system.cards[0].calls - calls < 10  # the card is opened, not watched
    record, _ = window(system, meter_of(system), BUSY)
    assert record.gpus[0].idle_power_w == measured[0]
    assert 7.0 <= record.gpus[0].idle_power_age_s < 8.0
    assert record.gpu_energy_net_j == pytest.approx(record.gpu_energy_j - measured[0] * record.duration_s)


def test_a_baseline_is_used_up_to_its_maximum_age_and_then_measured_again() -> None:
    system = VirtualSystem()
    first = idle_w(system)
    system.cards[0].set(80)
    system.clock.at_s += 590.0
    assert idle_w(system) == first
    system.clock.at_s += 20.0
    assert idle_w(system) == [pytest.approx(80, rel=0.03)]


def test_a_baseline_older_than_requested_is_measured_again() -> None:
    system = VirtualSystem()
    assert idle_w(system) == [pytest.approx(60, rel=0.03)]
    system.cards[0].set(80)
    assert idle_w(system, max_age_s=0) == [pytest.approx(80, rel=0.03)]


def test_a_changed_idle_power_is_flagged_and_measured_again() -> None:
    system = VirtualSystem()
    meter = meter_of(system)
    meter.measure_idle(0.3)
    system.cards[0].set(75)
    record, _ = window(system, meter, Scenario(work=[(0.3, 350.0, 0.0)], idle_w=75))
    assert record.energy_reasons == ("idle_drift",)
    assert record.idle_power_w == pytest.approx(60, rel=0.03)
    assert list(meter.measure_idle(0.3).values()) == [pytest.approx(75, rel=0.03)]


def test_without_a_measured_baseline_the_power_before_the_window_is_used() -> None:
    system = VirtualSystem()
    record, _ = window(system, meter_of(system), BUSY)
    assert record.idle_power_w == pytest.approx(60, rel=0.03)
    assert record.gpus[0].idle_power_age_s < 0.1


def test_a_card_that_is_not_idle_gets_no_baseline() -> None:
    system = VirtualSystem()
    for k in range(20):
        system.cards[0].set(20 * 1.35**k, after_s=k * 0.1)
    assert idle_w(system) == []
