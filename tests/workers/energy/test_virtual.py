"""The cards in virtual time and those of the C library agree: the same power gives the same counter."""

from typing import Any

import pytest

from testbed.nvml_sim.virtual import IDLE, VirtualCard, VirtualClock

MS = 1_000_000
POWERS = [(0, 60.0, 0), (1000, 350.0, 0), (1400, 100.0, 150), (2100, 420.0, 40), (2300, 60.0, 700)]  # ms, W, ramp in ms
COUNTERS = {
    "plain": {},
    "lag": {"lag_ns": 37 * MS},
    "jitter": {"jitter_ns": 30 * MS},
    "smear": {"smear_ns": 50 * MS},
    "quantum": {"quantum_mj": 1000},
    "fast": {"period_ns": 20 * MS, "lag_ns": 120 * MS},
}


def test_the_counter_equals_that_of_the_c_library(machine_of: Any) -> None:
    machine = machine_of(gpus=len(COUNTERS))
    for index, (name, counter) in enumerate(COUNTERS.items()):
        real = machine.cards[index]
        virtual = VirtualCard("GPU-0", VirtualClock(IDLE, 0), phase_s=real.phase_ns / 1e9)
        for field, value in counter.items():
            setattr(real, field, value)
            setattr(virtual, field.replace("_ns", "_s"), value / 1e9 if field.endswith("_ns") else value)
        assert_alike(machine, index, virtual, name, off_mj=max(1, counter.get("quantum_mj", 0)))


def assert_alike(machine: Any, index: int, virtual: VirtualCard, name: str, *, off_mj: int) -> None:
    real = machine.cards[index]
    start_ns = real._events[0].at_ns + 1000 * MS
    real.n_events = 0
    for at_ms, watts, ramp_ms in POWERS:
        at_ns = start_ns + at_ms * MS
        real.power(watts, at_ns=at_ns, ramp_s=ramp_ms / 1e3)
        virtual.power.set(watts, at_s=at_ns / 1e9, ramp_s=ramp_ms / 1e3)
    moments_ns = [start_ns + at_ms * MS + MS // 2 for at_ms in range(211, 4000, 53)]
    shown = machine.run(
        f"answer = []\ncard = nvml.Card(sim.uuid({index}))\nfor moment in {moments_ns}:\n"
        f"    sim[{index}].stall_at_ns = moment\n    answer.append(card.energy_mj())"
    )
    assert [virtual.counter_mj(moment / 1e9) for moment in moments_ns] == pytest.approx(shown, abs=off_mj), name


def test_the_clock_advances_only_when_code_sleeps_or_reads_it() -> None:
    clock = VirtualClock(IDLE, 0)
    first = clock.now_s()
    assert 0 < clock.now_s() - first < 0.001
    clock.sleep(3600.0)
    assert 3600 < clock.now_s() - first < 3601
