"""Tests that need real time: unmodified pynvml with a C library, the sampling process, the wiring of the meter.

Nothing here asserts how exact a figure is, nor how long anything takes: the machine may stall as it likes.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import until

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, RESET_REQUIRED, UNKNOWN = 3, 4, 9, 16, 999
REASON = """
def reason(call):
    try:
        call()
    except nvml.CardFault as fault:
        return fault.reason
"""


def test_no_nvml_is_null() -> None:
    code = (
        "from workers.energy import EnergyMeter, cards, driver_version\n"
        "meter = EnergyMeter(['GPU-0']); meter.measure_idle(0.1); meter.begin(); print(meter.end().model_dump_json())\n"
        "assert cards() == () and driver_version() is None"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert '"gpu_energy_j":null' in done.stdout
    assert '"energy_reasons":["no_' in done.stdout  # no library, or one without a driver


def test_a_card_is_read_in_its_units(machine: Any) -> None:
    card = machine.cards[0]
    card.stall_at_ns = card._events[0].at_ns + 5_001_000_000  # the counter stays at 5 s of 60 W
    card.set_pids(4242)
    card.violation_ns[1] = 5_000_000
    card.clock_event_reasons = 0x4 | 0x1
    result = machine.run(
        "card = nvml.Card(sim.uuid(0))\n"
        "answer = card.energy_mj(), card.instant_power_w(), card.plain_power_w(), card.power_limit_w(), "
        "card.temperature_c(), card.sm_clock_mhz(), card.memory_total_mb(), card.name(), card.mig(), "
        "list(card.pids()), card.violations()['thermal'], card.clock_events()"
    )
    assert result[0] == pytest.approx(card.counter_start_mj + 300_000, abs=1)
    assert result[1:3] == [pytest.approx(60, abs=0.002), pytest.approx(60, abs=0.002)]
    assert result[3:] == [700, 40, 1980, 85899.34592, "Simulated H100", False, [4242], 5_000_000, ["power"]]


def test_errors_of_nvml_become_reasons(machine: Any) -> None:
    codes = [NOT_SUPPORTED, NO_PERMISSION, RESET_REQUIRED, UNKNOWN]
    reasons = ["not_supported", "no_permission", "gpu_reset_required", "nvml_error_999"]
    result = machine.run(
        f"{REASON}\ncard = nvml.Card(sim.uuid(0))\nanswer = []\nfor code in {codes}:\n"
        "    sim[0].error_energy = sim[0].error_instant = sim[0].error_plain = sim[0].error_processes = code\n"
        "    calls = card.energy_mj, card.instant_power_w, card.plain_power_w, card.pids\n"
        "    answer.append([reason(call) for call in calls])"
    )
    assert result == [[reason] * 4 for reason in reasons]


def test_cards_that_cannot_be_opened_have_a_reason(machine: Any) -> None:
    unknown, slice_, lost, failing, no_driver = machine.run(
        f"{REASON}\n"
        "opened = lambda uuid: reason(lambda: nvml.Card(uuid))\n"
        "answer = [opened('GPU-99999999-0000-0000-0000-000000000000'), opened('MIG-51110000')]\n"
        "sim[0].lost_at_ns = 1; answer.append(opened(sim.uuid(0))); sim[0].lost_at_ns = 0\n"
        f"sim[0].error_handle = {UNKNOWN}; answer.append(opened(sim.uuid(0)))\n"
        f"sim.state.error_init = {DRIVER_NOT_LOADED}; answer.append(opened(sim.uuid(0)))"
    )
    assert (unknown, slice_, lost) == ("unknown_uuid", "mig", "gpu_lost")
    assert (failing, no_driver) == ("nvml_error_999", "no_driver")


def test_a_card_split_by_mig_is_refused_and_one_without_mig_is_not(machine: Any) -> None:
    split, cannot = machine.run(
        f"{REASON}\ncard = nvml.Card(sim.uuid(0))\n"
        "sim[0].mig_enabled = 1; answer = [reason(card.refuse_mig)]\n"
        f"sim[0].mig_error = {NOT_SUPPORTED}; answer.append(reason(card.refuse_mig))"
    )
    assert (split, cannot) == ("mig", None)


def test_a_card_without_violation_counters_has_no_violations(machine: Any) -> None:
    machine.cards[0].error_violation = NOT_SUPPORTED
    assert machine.run("answer = nvml.Card(sim.uuid(0)).violations() == {}")


def test_a_meter_reads_the_given_cards(machine: Any) -> None:
    machine.cards[1].set_pids(4242)
    result = machine.run(
        "meter = EnergyMeter([sim.uuid(0), sim.uuid(1)])\nmeter.measure_idle(0.3)\nmeter.begin()\n"
        "before, threads = sim[0].calls, len(os.listdir('/proc/self/task'))\n"
        "time.sleep(0.3)\nmeter.relative_uncertainty_after(0.3)\n"
        "assert sim[0].calls == before, 'NVML is read inside the window'\nanswer = meter.end()\n"
        "assert len(os.listdir('/proc/self/task')) == threads"
    )
    assert result["energy_method"] == "nvml_counter" or "negative_energy" in result["energy_reasons"]
    assert (result["gpu_energy_j"] is None) == (result["energy_confidence"] is None)
    assert [gpu["uuid"] for gpu in result["gpus"]] == [machine.cards.uuid(0), machine.cards.uuid(1)]
    assert [gpu["foreign_processes"] for gpu in result["gpus"]] == [0, 1]
    assert [gpu["power_limit_w"] for gpu in result["gpus"]] == [700, 700]


def test_no_thread_is_started(machine: Any) -> None:
    assert machine.run(
        "threads = lambda: len(os.listdir('/proc/self/task'))\nmeter = EnergyMeter([sim.uuid(0)])\nbefore = threads()\n"
        "meter.begin(); answer = threads() == before; meter.end()"
    )


def test_without_a_counter_a_separate_process_samples_the_power(machine: Any) -> None:
    machine.cards[0].error_energy = NOT_SUPPORTED
    result = machine.run("answer = window(EnergyMeter([sim.uuid(0)]))")
    assert result["energy_method"] == "nvml_power" or result["gpus"][0]["reasons"]
    samples = machine.run(
        "sampler = Sampler(sim.uuid(0))\nanswer = []\nwhile len(answer) < 3:\n    answer += sampler.take()"
    )
    assert [watts for _, _, watts in samples] == [pytest.approx(60, abs=0.002)] * len(samples)
    assert [at_s for at_s, _, _ in samples] == sorted(at_s for at_s, _, _ in samples)


def test_a_sampler_that_dies_makes_the_figure_null(machine: Any) -> None:
    machine.cards[0].error_energy = NOT_SUPPORTED
    result = machine.run(
        "meter = EnergyMeter([sim.uuid(0)])\nmeter.begin()\n"
        "process = meter._gauges[sim.uuid(0)].sampler._process\nprocess.kill(); process.wait()\nanswer = meter.end()"
    )
    assert result["gpu_energy_j"] is None
    assert "power_sampler_failed" in result["energy_reasons"]


def test_the_sampler_ends_with_the_process_that_started_it(machine: Any) -> None:
    pid = machine.run("sampler = Sampler(sim.uuid(0)); answer = sampler._process.pid")
    machine.process.kill()
    machine.process.wait(60)
    until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_cards_are_listed_with_their_capabilities(machine: Any) -> None:
    machine.cards[1].error_energy = machine.cards[1].error_instant = NOT_SUPPORTED
    listed, names, driver = machine.run("answer = cards(), card_names([sim.uuid(1), 'GPU-none']), driver_version()")
    assert [(c["energy_counter"], c["instant_power"], c["mig"]) for c in listed] == [
        (True, True, False),
        (False, False, False),
    ]
    assert names == ["Simulated H100", "unknown"]
    assert driver == "580.00 (simulated)"
