"""Each fault gives a null or a flagged figure with its reason, and none raises. In virtual time."""

import os
from collections.abc import Callable

import pytest
from nvml_sim.virtual import VirtualCard, VirtualSystem
from windows import Figure, Scenario, meter_of, window

from workers.energy import EnergyMeter
from workers.records import EnergyMetrics

BUSY = Scenario(work=[(0.3, 350.0, 0.0)])
NOT_SUPPORTED = "not_supported"


def assert_null(found: EnergyMetrics, reason: str) -> None:
    assert found.gpu_energy_j is None
    assert found.gpu_energy_uncertainty_j is None
    assert found.gpu_energy_net_j is None
    assert found.energy_confidence is None
    assert found.energy_method == "none"
    assert found.per_gpu == {}
    assert reason in found.energy_reasons
    assert found.duration_s > 0


def measured(scenario: Scenario = BUSY, **card: object) -> tuple[EnergyMetrics, Figure]:
    """One window of one card, some of whose fields are otherwise."""
    system = VirtualSystem()
    for name, value in card.items():
        setattr(system.cards[0], name, value)
    return tuple(window(system, meter_of(system), scenario))


def measured_around(change: Callable[[VirtualCard], None], **more: object) -> EnergyMetrics:
    """One window in whose middle something happens to the card."""
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
def test_a_card_that_tells_neither_energy_nor_power_is_null(reason: str) -> None:
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


def test_one_lost_card_of_two_leaves_the_others_figure_and_no_sum() -> None:
    system = VirtualSystem(cards=2)
    system.cards[1].lost_at_s = 0.0
    found = window(system, meter_of(system), BUSY)
    assert found.record.gpu_energy_j is None
    assert found.record.energy_reasons == ("gpu_lost",)
    assert list(found.record.per_gpu) == system.uuids[:1]
    assert found.figures[0].covered


def test_a_counter_that_runs_backwards_is_null() -> None:
    assert_null(measured_around(lambda card: setattr(card, "reset_at_s", card.clock.at_s)), "counter_reset")


def test_a_counter_that_stands_still_is_null() -> None:
    assert_null(measured(stall_at_s=1.0)[0], "counter_stalled")


def test_a_mean_above_the_power_limit_is_refused() -> None:
    assert_null(measured(limit_w=200.0)[0], "above_power_limit")


def test_an_unknown_uuid_is_refused_and_never_the_first_card() -> None:
    system = VirtualSystem()
    meter = EnergyMeter(["GPU-99999999-0000-0000-0000-000000000000"], system=system.ports)
    assert_null(window(system, meter, BUSY).record, "unknown_uuid")
    assert system.cards[0].calls == 0


def test_a_card_split_by_mig_is_refused() -> None:
    found, _ = measured(faults={"refuse_mig": "mig"})
    assert_null(found, "mig")
    assert found.gpus[0].mig is True


def test_without_a_counter_sampled_power_is_flagged() -> None:
    found, figure = measured(faults={"energy_mj": NOT_SUPPORTED})
    assert found.energy_method == "nvml_power"
    assert found.energy_reasons == ("power_sampled",)
    assert found.energy_confidence in ("medium", "low")
    assert figure.covered
    assert found.counter_period_ms is None


def test_without_instant_power_the_averaged_reading_is_flagged() -> None:
    found, figure = measured(faults={"energy_mj": NOT_SUPPORTED, "instant_power_w": NOT_SUPPORTED})
    assert found.energy_method == "nvml_power"
    assert "power_averaged" in found.energy_reasons
    assert found.energy_confidence == "low"
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


def test_samples_with_a_hole_make_the_figure_null() -> None:
    system, meter = sampled()
    system.clock.at_s += 0.5
    system.samplers[0].sleep(0.3)
    system.clock.at_s += 0.5
    assert_null(meter.end(), "power_samples_missing")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_foreign_process_before_or_after_is_flagged_not_corrected(moment: str) -> None:
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
    found = meter.end()
    assert found.gpus[0].foreign_processes == 1
    assert found.energy_reasons == ("foreign_processes",)
    assert found.energy_confidence == "medium"
    true_j = card.power.energy_j(start_s + found.duration_s) - card.power.energy_j(start_s)
    assert abs(found.gpu_energy_j - true_j) <= found.gpu_energy_uncertainty_j


def test_this_process_and_its_sibling_ranks_are_not_foreign() -> None:
    system = VirtualSystem()
    system.cards[0].processes = frozenset({os.getpid(), 4242})
    found, _ = window(system, meter_of(system, own_pids=[4242]), BUSY)
    assert found.gpus[0].foreign_processes == 0
    assert found.energy_confidence == "high"


def test_processes_that_nvml_does_not_list_are_unknown_not_none() -> None:
    assert measured(faults={"pids": NOT_SUPPORTED})[0].gpus[0].foreign_processes is None


def test_throttling_is_seen_by_the_cumulative_counters() -> None:
    found = measured_around(lambda card: card.held_back.update(thermal=5_000_000))
    assert (found.gpus[0].throttled, found.gpus[0].throttle_reasons) == (True, ("thermal",))
    assert found.energy_reasons == ("throttled",)


def test_without_counters_the_reason_bits_can_prove_throttling() -> None:
    found, _ = measured(held_back={}, events=("power",))
    assert (found.gpus[0].throttled, found.gpus[0].throttle_reasons) == (True, ("power",))


def test_without_counters_the_reason_bits_cannot_prove_its_absence() -> None:
    assert measured(held_back={})[0].gpus[0].throttled is None


def test_a_short_window_is_flagged() -> None:
    assert measured(Scenario(work=[(0.05, 350.0, 0.0)]))[0].energy_reasons == ("short_window",)


def test_a_card_whose_power_moves_before_the_window_is_flagged() -> None:
    rising = [(0.1, 20 * 1.35**k, 0.0) for k in range(20)]
    found, figure = measured(Scenario(meanwhile=rising, work=[(0.3, 350.0, 0.0)]))
    assert "unsettled_before" in found.energy_reasons
    assert figure.covered
    assert found.idle_power_w is None
    assert found.gpu_energy_net_j is None
