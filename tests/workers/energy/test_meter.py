"""The meter's figures of single windows compared with the true energy, in virtual time."""

from functools import partial
from statistics import fmean

import pytest

from testbed.nvml_sim.virtual import VirtualSystem
from tests.support.energy_windows import Figure, Scenario, figures, meter_of, metered, plan, system_of, window
from workers.energy import EnergyMeter

NO_INSTANT_POWER = {"instant_power_w": "not_supported"}


def busy(seconds: float = 0.3, watts: float = 350.0, **more: object) -> Scenario:
    """60 W, then the work, then 60 W again."""
    return Scenario(work=[(seconds, watts, 0.0)], **more)


def windows(scenario: Scenario, count: int) -> list[Figure]:
    return [figure for seed in range(count) for figure in metered(scenario, seed).figures]


def relative_error(found: list[Figure]) -> float:
    return fmean(abs(figure.energy_j / figure.true_j - 1) for figure in found)


def relative_uncertainty(found: list[Figure]) -> float:
    return fmean(figure.uncertainty_j / figure.true_j for figure in found)


@pytest.mark.parametrize(("seconds", "error", "stated"), [(0.2, 0.002, 0.008), (1.0, 0.0005, 0.002)])
def test_a_step_from_60_to_350_w_is_measured_within_its_bound(seconds: float, error: float, stated: float) -> None:
    found = windows(busy(seconds), 50)
    assert relative_error(found) <= error
    assert relative_uncertainty(found) <= stated


@pytest.mark.parametrize("faults", [{}, NO_INSTANT_POWER], ids=["with instant power", "without"])
def test_power_that_falls_slowly_after_the_work_widens_the_uncertainty(faults: dict[str, str]) -> None:
    for seed in range(20):
        _, figure = metered(busy(after=[(0.0, 60.0, 0.06)], card={"faults": faults}), seed)
        assert figure.covered
        assert figure.uncertainty_j > 0.02 * figure.true_j  # the fall of 60 ms is 8.7 J, which no meter can attribute


def test_without_instant_power_a_window_is_less_certain() -> None:
    with_it, without = (windows(busy(card={"faults": faults}), 20) for faults in ({}, NO_INSTANT_POWER))
    assert relative_uncertainty(without) > 2 * relative_uncertainty(with_it)


def test_a_different_idle_power_after_the_window_increases_the_uncertainty() -> None:
    same, other = (windows(busy(after=[(0.0, idle_w, 0.0)]), 20) for idle_w in (60.0, 100.0))
    assert relative_uncertainty(other) > 2 * relative_uncertainty(same)


def test_the_instant_power_shows_a_change_that_the_counters_lag_hides_before_the_window() -> None:
    moved = [(0.3, 60.0, 0.0), (0.0, 200.0, 0.0)]  # a 20 ms counter that lags by 0.1 s shows it only after 0.4 s
    scenario = busy(1.0, meanwhile=moved, idle_w=60.0, card={"period_s": 0.02, "lag_s": 0.1})
    for seed in range(20):
        record, figure = metered(scenario, seed)
        assert figure.covered, (seed, figure, record.energy_reasons)


def test_the_record_has_all_figures_and_the_state_of_every_card() -> None:
    system = system_of(busy(cards=2))
    system.cards[1].period_s = 0.05
    record, *_ = window(system, meter_of(system), busy(cards=2))
    assert record.energy_method == "nvml_counter"
    assert record.energy_confidence == "high"
    assert record.energy_reasons == ()
    assert set(record.per_gpu) == set(system.uuids)
    assert record.gpu_energy_j == pytest.approx(sum(record.per_gpu.values()))
    assert record.gpu_energy_net_j == pytest.approx(record.gpu_energy_j - record.idle_power_w * record.duration_s)
    assert record.idle_power_w == pytest.approx(120, rel=0.05)
    assert record.counter_period_ms == pytest.approx(100, rel=0.1)
    first, second = record.gpus
    assert second.counter_period_ms == pytest.approx(50, rel=0.1)
    assert (first.temperature_start_c, first.sm_clock_mhz, first.power_limit_w) == (40, 1980, 700)
    assert (first.throttled, first.foreign_processes, first.mig) == (False, 0, False)
    assert first.name == "Virtual H100"


def test_a_window_without_work_has_a_net_energy_around_zero_of_either_sign() -> None:
    records = [metered(busy(watts=60.0), seed).record for seed in range(50)]
    assert all(abs(r.gpu_energy_net_j) <= r.gpu_energy_net_uncertainty_j for r in records)
    assert {r.gpu_energy_net_j > 0 for r in records} == {True, False}


def test_steady_power_counted_from_zero_is_not_taken_for_a_coarse_counter() -> None:
    system = VirtualSystem()
    card = system.cards[0]
    card.counter_start_mj, card.phase_s = 0, 0.0
    card.power.set(60.0, at_s=system.clock.at_s - 20)  # before the window all values are multiples of 6000 mJ
    record, figure = window(system, meter_of(system), busy())
    assert record.energy_reasons == ()
    assert figure.covered
    assert figure.uncertainty_j <= 0.03 * figure.true_j


def test_nvml_is_not_read_inside_the_window() -> None:
    system = VirtualSystem()
    meter = meter_of(system)
    meter.begin()
    before = system.cards[0].calls
    meter.relative_uncertainty_after(0.2)
    assert system.cards[0].calls == before


def test_the_device_is_synchronised_before_the_start_and_end_times_are_taken() -> None:
    system = VirtualSystem()
    waits: list[float] = []

    def wait() -> None:
        waits.append(system.clock.at_s)
        system.clock.at_s += 1.0

    meter = meter_of(system, synchronize=wait)
    meter.begin()
    assert len(waits) == 1
    record = meter.end()
    assert record.duration_s == pytest.approx(1.0, abs=0.001)  # only the wait at the end is part of the window


def test_a_meter_measures_many_windows_and_predicts_the_next_ones_uncertainty() -> None:
    system = VirtualSystem()
    meter = meter_of(system)
    assert meter.relative_uncertainty_after(1.0) is None
    meter.begin()
    assert 0 < meter.relative_uncertainty_after(1.0) < 0.05
    meter.end()
    for _ in range(2):
        record, figure = window(system, meter, busy())
        assert figure.covered
    assert meter.relative_uncertainty_after(record.duration_s) == pytest.approx(figure.uncertainty_j / figure.energy_j)
    assert meter.relative_uncertainty_after(0.1) == pytest.approx(10 * meter.relative_uncertainty_after(1.0))


def test_a_card_given_twice_counts_once_and_torchs_format_of_uuids_is_accepted() -> None:
    system = VirtualSystem()
    (uuid,) = system.uuids
    meter = EnergyMeter([uuid, uuid.removeprefix("GPU-")], system=system.ports)
    assert list(window(system, meter, busy()).record.per_gpu) == [uuid]


def test_a_stall_of_the_machine_is_not_taken_for_a_stalled_counter() -> None:
    system = VirtualSystem()
    sleep, stalls = system.clock.sleep, iter([5.0])
    system.clock.sleep = lambda seconds: sleep(seconds + next(stalls, 0.0))
    record, figure = window(system, meter_of(system), busy())
    assert record.energy_reasons == ()
    assert figure.covered


def test_end_without_begin_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="call begin\\(\\) right before the work"):
        EnergyMeter([]).end()


def test_without_a_gpu_the_gpu_figures_are_null_with_a_reason(tmp_path) -> None:
    meter = EnergyMeter([], powercap=tmp_path)
    meter.begin()
    record = meter.end()
    assert record.gpu_energy_j is None
    assert record.gpu_energy_net_j is None
    assert record.energy_confidence is None
    assert record.energy_method == "none"
    assert record.energy_reasons == ("no_gpu",)
    assert meter.relative_uncertainty_after(1.0) is None


def test_two_machines_do_not_share_their_baselines() -> None:
    first, second = VirtualSystem(idle_w=60.0), VirtualSystem(idle_w=90.0)
    assert first.uuids == second.uuids
    assert list(meter_of(first).measure_idle().values()) == [pytest.approx(60, rel=0.03)]
    assert list(meter_of(second).measure_idle().values()) == [pytest.approx(90, rel=0.03)]


@pytest.mark.parametrize("waited_s", [0.0, 0.03, 2.0])
def test_the_wait_for_other_ranks_is_not_part_of_the_window(waited_s: float) -> None:
    for seed in range(20):
        system = system_of(busy(), seed)
        meter = meter_of(system)
        meter.begin(barrier=partial(system.clock.sleep, waited_s))
        start_s = meter._start_s
        plan(system, [(0.3, 350.0, 0.0), (0.0, 60.0, 0.0)])
        system.clock.sleep(0.3)
        record = meter.end()
        (figure,) = figures(system, record, start_s)
        assert record.duration_s == pytest.approx(0.3, abs=0.02)
        assert figure.covered
        assert figure.uncertainty_j < 0.03 * figure.true_j
        assert record.energy_reasons == ()
