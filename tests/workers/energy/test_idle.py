"""The baseline: measured, kept with its age, distrusted when the card rests otherwise."""

from typing import Any

import pytest


def test_the_baseline_is_measured_and_kept_with_its_age(machine: Any) -> None:
    idle, again, calls, found = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
idle = meter.measure_idle(0.4)
before = sim[0].calls
again = EnergyMeter([sim.uuid(0)]).measure_idle(0.4)
calls = sim[0].calls - before
time.sleep(0.3)
answer = list(idle.values()), list(again.values()), calls, window(meter)[0]
"""
    )
    assert idle == again
    assert idle == [pytest.approx(60, rel=0.03)]
    assert calls < 10  # found in the cache: the card is looked up, not watched
    assert found["gpus"][0]["idle_power_w"] == idle[0]
    assert 0.3 <= found["gpus"][0]["idle_power_age_s"] < 10
    assert found["gpu_energy_net_j"] == pytest.approx(found["gpu_energy_j"] - idle[0] * found["duration_s"])


def test_a_baseline_older_than_asked_for_is_measured_anew(machine: Any) -> None:
    first, second = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
first = meter.measure_idle(0.3)
sim[0].power(80)
answer = list(first.values())[0], list(meter.measure_idle(0.3, max_age_s=0).values())[0]
"""
    )
    assert first == pytest.approx(60, rel=0.05)
    assert second == pytest.approx(80, rel=0.05)


def test_a_card_that_rests_otherwise_now_is_flagged_and_measured_anew(machine: Any) -> None:
    drifted, again = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
meter.measure_idle(0.3)
sim[0].power(75)
meter.begin(); time.sleep(0.3); drifted = meter.end()
answer = drifted, meter.measure_idle(0.3)
"""
    )
    assert drifted["energy_reasons"] == ["idle_drift"]
    assert drifted["idle_power_w"] == pytest.approx(60, rel=0.05)
    assert list(again.values()) == [pytest.approx(75, rel=0.05)]


def test_without_a_measured_baseline_the_rest_before_the_window_is_it(machine: Any) -> None:
    found = machine.window()
    assert found["idle_power_w"] == pytest.approx(60, rel=0.05)
    assert found["gpus"][0]["idle_power_age_s"] < 1


def test_a_card_that_does_not_rest_gets_no_baseline(machine: Any) -> None:
    assert (
        machine.run(
            """
at = time.monotonic_ns()
for k in range(20):
    sim[0].power(20 * 1.35**k, at_ns=at + k * 100_000_000)
answer = list(EnergyMeter([sim.uuid(0)]).measure_idle(0.3))
"""
        )
        == []
    )
