"""Each fault gives a null or flagged figure with its reason, and no exception. In virtual time."""

import os
from collections.abc import Callable

import pytest

from testbed.nvml_sim.virtual import VirtualCard, VirtualSystem
from tests.support.energy_windows import Figure, Scenario, meter_of, window
from workers.energy import EnergyMeter
from workers.records import EnergyMetrics

BUSY = Scenario(work=[(0.3, 350.0, 0.0)])
NOT_SUPPORTED = "not_supported"


def assert_null(record: EnergyMetrics, reason: str) -> None:
    assert record.gpu_energy_j is None
    assert record.gpu_energy_uncertainty_j is None
    assert record.gpu_energy_net_j is None
    assert record.energy_confidence is None
    assert record.energy_method == "none"
    assert record.per_gpu == {}
    assert reason in record.energy_reasons
    assert record.duration_s > 0


def measured(scenario: Scenario = BUSY, **card: object) -> tuple[EnergyMetrics, Figure]:
    """One window of one card with some of its fields changed."""
    system = VirtualSystem()
    for name, value in card.items():
        setattr(system.cards[0], name, value)
    return tuple(window(system, meter_of(system), scenario))


def measured_around(change: Callable[[VirtualCard], None], **more: object) -> EnergyMetrics:
    """One window in the middle of which `change` is applied to the card."""
    system = VirtualSystem()
    meter = meter_of(system, **more)
    meter.begin()
    system.cards[0].set(350)
    system.clock.at_s += 0.15
    change(system.cards[0])
    system.clock.at_s += 0.15
    system.cards[0].set(60)
    return meter.end()


@pytest.mark.parametrize("reason", ["no_permission", "nvml_timeout", "nvml_error_999"])
def test_a_card_that_reports_neither_energy_nor_power_is_null(reason: str) -> None:
    methods = ("energy_mj", "instant_power_w", "plain_power_w")
    assert_null(measured(faults=dict.fromkeys(methods, reason))[0], reason)


def test_a_card_that_is_lost_in_the_window_is_null() -> None:
    assert_null(measured_around(lambda card: setattr(card, "lost_at_s", card.clock.at_s)), "gpu_lost")


def test_a_card_that_is_lost_before_the_window_is_null_and_comes_back() -> None:
    system = VirtualSystem()
    meter = meter_of(system)
    window(system, meter, BUSY)
    system.cards[0].lost_at_s = 0.0
    assert_null(window(system, meter, BUSY).record, "gpu_lost")
    system.cards[0].lost_at_s = float("inf")
    assert window(system, meter, BUSY).figures[0].covered


def test_with_one_of_two_cards_lost_the_other_has_its_energy_and_the_sum_is_null() -> None:
    system = VirtualSystem(cards=2)
    system.cards[1].lost_at_s = 0.0
    metered = window(system, meter_of(system), BUSY)
    assert metered.record.gpu_energy_j is None
    assert metered.record.energy_reasons == ("gpu_lost",)
    assert list(metered.record.per_gpu) == system.uuids[:1]
    assert metered.figures[0].covered


def test_a_counter_that_runs_backwards_is_null() -> None:
    assert_null(measured_around(lambda card: setattr(card, "reset_at_s", card.clock.at_s)), "counter_reset")


def test_a_counter_that_stalls_is_null() -> None:
    assert_null(measured(stall_at_s=1.0)[0], "counter_stalled")


def test_a_mean_above_the_power_limit_is_refused() -> None:
    assert_null(measured(limit_w=200.0)[0], "above_power_limit")


def test_an_unknown_uuid_is_refused_and_no_other_card_is_read() -> None:
    system = VirtualSystem()
    meter = EnergyMeter(["GPU-99999999-0000-0000-0000-000000000000"], system=system.ports)
    assert_null(window(system, meter, BUSY).record, "unknown_uuid")
    assert system.cards[0].calls == 0


def test_a_card_split_by_mig_is_refused() -> None:
    record, _ = measured(faults={"refuse_mig": "mig"})
    assert_null(record, "mig")
    assert record.gpus[0].mig is True


def test_without_a_counter_sampled_power_is_flagged() -> None:
    record, figure = measured(faults={"energy_mj": NOT_SUPPORTED})
    assert record.energy_method == "nvml_power"
    assert record.energy_reasons == ("power_sampled",)
    assert record.energy_confidence in ("medium", "low")
    assert figure.covered
    assert record.counter_period_ms is None


def test_without_instant_power_the_averaged_reading_is_flagged() -> None:
    record, figure = measured(faults={"energy_mj": NOT_SUPPORTED, "instant_power_w": NOT_SUPPORTED})
    assert record.energy_method == "nvml_power"
    assert "power_averaged" in record.energy_reasons
    assert record.energy_confidence == "low"
    assert figure.covered


def sampled() -> tuple[VirtualSystem, EnergyMeter]:
    system = VirtualSystem()
    system.cards[0].faults = {"energy_mj": NOT_SUPPORTED}
    meter = meter_of(system)
    meter.begin()
    return system, meter


def test_a_sampler_that_dies_makes_the_figure_null() -> None:
    system, meter = sampled()
    system.samplers[0].died = True
    assert_null(meter.end(), "power_sampler_failed")


def test_samples_with_a_gap_make_the_figure_null() -> None:
    system, meter = sampled()
    system.clock.at_s += 0.5
    system.samplers[0].sleep(0.3)
    system.clock.at_s += 0.5
    assert_null(meter.end(), "power_samples_missing")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_foreign_process_before_or_after_is_flagged_but_not_corrected(moment: str) -> None:
    system = VirtualSystem()
    (card,) = system.cards
    stranger: dict[str, frozenset[int]] = {"before": frozenset(), "after": frozenset(), moment: frozenset({4242})}
    card.processes = stranger["before"]
    meter = meter_of(system)
    meter.begin()
    start_s = meter._start_s
    card.set(350)
    card.processes = stranger["after"]
    system.clock.at_s += 0.3
    card.set(60)
    record = meter.end()
    assert record.gpus[0].foreign_processes == 1
    assert record.energy_reasons == ("foreign_processes",)
    assert record.energy_confidence == "medium"
    true_j = card.power.energy_j(start_s + record.duration_s) - card.power.energy_j(start_s)
    assert abs(record.gpu_energy_j - true_j) <= record.gpu_energy_uncertainty_j


def test_this_process_and_its_sibling_ranks_are_not_foreign() -> None:
    system = VirtualSystem()
    system.cards[0].processes = frozenset({os.getpid(), 4242})
    record, _ = window(system, meter_of(system, own_pids=[4242]), BUSY)
    assert record.gpus[0].foreign_processes == 0
    assert record.energy_confidence == "high"


def test_processes_are_unknown_if_nvml_does_not_list_them() -> None:
    assert measured(faults={"pids": NOT_SUPPORTED})[0].gpus[0].foreign_processes is None


def test_the_cumulative_counters_detect_throttling() -> None:
    record = measured_around(lambda card: card.violation_ns.update(thermal=5_000_000))
    assert (record.gpus[0].throttled, record.gpus[0].throttle_reasons) == (True, ("thermal",))
    assert record.energy_reasons == ("throttled",)


def test_without_counters_the_reason_bits_can_prove_throttling() -> None:
    record, _ = measured(violation_ns={}, events=("power",))
    assert (record.gpus[0].throttled, record.gpus[0].throttle_reasons) == (True, ("power",))


def test_without_counters_the_reason_bits_cannot_prove_its_absence() -> None:
    assert measured(violation_ns={})[0].gpus[0].throttled is None


def test_a_short_window_is_flagged() -> None:
    assert measured(Scenario(work=[(0.05, 350.0, 0.0)]))[0].energy_reasons == ("short_window",)


def test_power_that_changes_before_the_window_is_flagged() -> None:
    rising = [(0.1, 20 * 1.35**k, 0.0) for k in range(20)]
    record, figure = measured(Scenario(meanwhile=rising, work=[(0.3, 350.0, 0.0)]))
    assert "unsettled_before" in record.energy_reasons
    assert figure.covered
    assert record.idle_power_w is None
    assert record.gpu_energy_net_j is None
