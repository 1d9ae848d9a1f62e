"""Each fault gives a null or a flagged figure with its reason, and none raises."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MS = 1_000_000
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, UNKNOWN = 3, 4, 9, 999


def assert_null(found: dict[str, Any], reason: str) -> None:
    assert found["gpu_energy_j"] is None
    assert found["gpu_energy_uncertainty_j"] is None
    assert found["gpu_energy_net_j"] is None
    assert found["energy_confidence"] is None
    assert found["energy_method"] == "none"
    assert found["per_gpu"] == {}
    assert reason in found["energy_reasons"]
    assert found["duration_s"] > 0


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


def test_no_driver_is_null(machine: Any) -> None:
    machine.cards.state.error_init = DRIVER_NOT_LOADED
    assert_null(machine.window(), "no_driver")


def test_no_permission_is_null(machine: Any) -> None:
    card = machine.cards[0]
    card.error_energy = card.error_instant = card.error_plain = NO_PERMISSION
    assert_null(machine.window(), "no_permission")


def test_a_card_that_is_lost_in_the_window_is_null(machine: Any) -> None:
    found = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
meter.begin()
sim[0].lost_at_ns = time.monotonic_ns()
answer = meter.end()
"""
    )
    assert_null(found, "gpu_lost")


def test_a_card_that_is_lost_before_the_window_is_null_and_comes_back(machine: Any) -> None:
    first, second = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
window(meter)
sim[0].lost_at_ns = 1
first = window(meter)[0]
sim[0].lost_at_ns = 0
answer = first, window(meter)[0]
"""
    )
    assert_null(first, "gpu_lost")
    assert second["gpu_energy_j"] > 0


def test_one_lost_card_of_two_leaves_the_others_figure_and_no_sum(machine: Any) -> None:
    machine.cards[1].lost_at_ns = 1
    found = machine.window(gpus="[sim.uuid(0), sim.uuid(1)]")
    assert found["gpu_energy_j"] is None
    assert found["energy_reasons"] == ["gpu_lost", "short_window"]
    assert list(found["per_gpu"]) == [machine.cards.uuid(0)]


def test_a_counter_that_runs_backwards_is_null(machine: Any) -> None:
    found = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
meter.begin()
sim[0].reset_at_ns = time.monotonic_ns()
time.sleep(0.15)
answer = meter.end()
"""
    )
    assert_null(found, "counter_reset")


def test_a_counter_that_stands_still_is_null(machine: Any) -> None:
    machine.cards[0].stall_at_ns = 1_000_000_000
    assert_null(machine.window(), "counter_stalled")


def test_a_mean_above_the_power_limit_is_refused(machine: Any) -> None:
    machine.cards[0].power_limit_mw = 200_000
    assert_null(machine.window(seconds=0.3), "above_power_limit")


def test_an_unknown_uuid_is_refused_and_never_the_first_card(machine: Any) -> None:
    machine_calls = machine.cards[0].calls
    found = machine.window(gpus="['GPU-99999999-0000-0000-0000-000000000000']")
    assert_null(found, "unknown_uuid")
    assert machine.cards[0].calls == machine_calls


def test_a_card_split_by_mig_is_refused(machine: Any) -> None:
    machine.cards[0].mig_enabled = 1
    found = machine.window()
    assert_null(found, "mig")
    assert found["gpus"][0]["mig"] is True


def test_a_mig_slice_is_refused(machine: Any) -> None:
    assert_null(machine.window(gpus="['MIG-51110000-0000-0000-0000-000000000000']"), "mig")


def test_a_card_that_cannot_be_split_is_measured(machine: Any) -> None:
    machine.cards[0].mig_error = NOT_SUPPORTED
    assert machine.window()["gpu_energy_j"] > 0


def test_an_error_nobody_foresaw_is_null_with_its_number(machine: Any) -> None:
    machine.cards[0].error_handle = UNKNOWN
    assert_null(machine.window(), "nvml_error_999")


def test_without_a_counter_instant_power_is_sampled_by_another_process_and_flagged(machine: Any) -> None:
    machine.cards[0].error_energy = NOT_SUPPORTED
    found, truth = machine.run("answer = window(EnergyMeter([sim.uuid(0)]), 0.4)")
    assert found["energy_method"] == "nvml_power"
    assert "power_sampled" in found["energy_reasons"]
    assert found["energy_confidence"] in ("medium", "low")
    assert abs(found["gpu_energy_j"] - truth[0]) <= found["gpu_energy_uncertainty_j"] <= 0.2 * truth[0]
    assert found["counter_period_ms"] is None


def test_without_instant_power_the_averaged_reading_is_flagged_and_its_uncertainty_covers(machine: Any) -> None:
    machine.cards[0].error_energy = machine.cards[0].error_instant = NOT_SUPPORTED
    found, truth = machine.run("answer = window(EnergyMeter([sim.uuid(0)]), 0.4)")
    assert found["energy_method"] == "nvml_power"
    assert "power_averaged" in found["energy_reasons"]
    assert found["energy_confidence"] == "low"
    assert abs(found["gpu_energy_j"] - truth[0]) <= found["gpu_energy_uncertainty_j"]


def test_a_sampler_that_dies_makes_the_figure_null(machine: Any) -> None:
    machine.cards[0].error_energy = NOT_SUPPORTED
    found = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
meter.begin()
meter._gauges[sim.uuid(0)].sampler._process.kill()
time.sleep(0.2)
answer = meter.end()
"""
    )
    assert_null(found, "power_sampler_failed")


def test_the_sampler_ends_with_the_process_that_started_it(machine: Any) -> None:
    machine.cards[0].error_energy = NOT_SUPPORTED
    pid = machine.run(
        "meter = EnergyMeter([sim.uuid(0)]); window(meter); answer = meter._gauges[sim.uuid(0)].sampler._process.pid"
    )
    machine.process.kill()
    machine.process.wait(10)
    waited = 0
    while _alive(pid) and waited < 200:
        subprocess.run(["sleep", "0.1"], check=True)
        waited += 1
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for whoever inherited it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_foreign_process_before_or_after_is_flagged_not_corrected(machine: Any, moment: str) -> None:
    before = "sim[0].set_pids(4242)" if moment == "before" else "0"
    after = "sim[0].set_pids()" if moment == "before" else "sim[0].set_pids(4242)"
    found, truth = machine.run(
        f"""
meter = EnergyMeter([sim.uuid(0)])
{before}
start_s = begin(meter); sim[0].power(350); time.sleep(0.3); {after}; sim[0].power(60)
found = meter.end()
answer = found, drawn(0, start_s, found)
"""
    )
    assert found["gpus"][0]["foreign_processes"] == 1
    assert found["energy_reasons"] == ["foreign_processes"]
    assert found["energy_confidence"] == "medium"
    assert found["gpu_energy_j"] == pytest.approx(truth, rel=0.03)


def test_this_process_and_its_sibling_ranks_are_not_foreign(machine: Any) -> None:
    found = machine.run(
        """
sim[0].set_pids(os.getpid(), 4242)
answer = window(EnergyMeter([sim.uuid(0)], own_pids=[4242]), 0.3)[0]
"""
    )
    assert found["gpus"][0]["foreign_processes"] == 0
    assert found["energy_confidence"] == "high"


def test_processes_that_nvml_does_not_list_are_unknown_not_none(machine: Any) -> None:
    machine.cards[0].error_processes = NOT_SUPPORTED
    assert machine.window()["gpus"][0]["foreign_processes"] is None


def test_throttling_is_seen_by_the_cumulative_counters(machine: Any) -> None:
    found = machine.run(
        """
meter = EnergyMeter([sim.uuid(0)])
meter.begin(); time.sleep(0.3); sim[0].violation_ns[1] += 5_000_000
answer = meter.end()
"""
    )
    assert (found["gpus"][0]["throttled"], found["gpus"][0]["throttle_reasons"]) == (True, ["thermal"])
    assert found["energy_reasons"] == ["throttled"]


def test_without_counters_the_reason_bits_can_prove_throttling(machine: Any) -> None:
    machine.cards[0].error_violation = NOT_SUPPORTED
    machine.cards[0].clock_event_reasons = 0x4 | 0x1
    found = machine.window()
    assert (found["gpus"][0]["throttled"], found["gpus"][0]["throttle_reasons"]) == (True, ["power"])


def test_without_counters_the_reason_bits_cannot_prove_its_absence(machine: Any) -> None:
    machine.cards[0].error_violation = NOT_SUPPORTED
    assert machine.window()["gpus"][0]["throttled"] is None


def test_a_short_window_is_flagged(machine: Any) -> None:
    assert machine.window(seconds=0.05)["energy_reasons"] == ["short_window"]


def test_a_card_whose_power_moves_before_the_window_is_flagged(machine: Any) -> None:
    found, truth = machine.run(
        """
at = time.monotonic_ns()
for k in range(20):
    sim[0].power(20 * 1.35**k, at_ns=at + k * 100_000_000)
meter = EnergyMeter([sim.uuid(0)])
meter.begin(); start = sim[0].power(350); time.sleep(0.3); end = sim[0].power(60)
energy = meter.end()
answer = energy, sim[0].true_energy_j(start, end)
"""
    )
    assert "unsettled_before" in found["energy_reasons"]
    assert abs(found["gpu_energy_j"] - truth) <= found["gpu_energy_uncertainty_j"]
    assert found["idle_power_w"] is None
    assert found["gpu_energy_net_j"] is None
