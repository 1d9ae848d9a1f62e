import math

import pytest

from orchestrator.aggregate.emissions import grams_co2e
from orchestrator.aggregate.energy_ranks import Span, join, union
from workers.records import (
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    GpuState,
    InferenceMetrics,
    PrecisionMetadata,
    RawProcessResult,
    WarmupDone,
)

A, B = "GPU-a", "GPU-b"


def gpu(uuid: str, energy_j: float | None, *, idle_w: float | None = 50.0, reasons: tuple[str, ...] = ()) -> GpuState:
    return GpuState(
        uuid=uuid,
        energy_j=energy_j,
        energy_uncertainty_j=None if energy_j is None else 1.0,
        idle_power_w=idle_w,
        idle_power_uncertainty_w=0.5,
        reasons=reasons,
    )


def rank(
    start: float,
    end: float,
    *gpus: GpuState,
    host: str = "one",
    cpu_j: float | None = 20.0,
    opened: float | None = None,
) -> RawProcessResult:
    whole = bool(gpus) and all(g.energy_j is not None for g in gpus)
    energy = EnergyMetrics(
        gpu_energy_j=sum(g.energy_j or 0 for g in gpus) if whole else None,
        energy_method="nvml_counter" if whole else "none",
        energy_confidence="high" if whole else None,
        energy_reasons=tuple({r for g in gpus for r in g.reasons}),
        duration_s=end - start,
        per_gpu={g.uuid: g.energy_j for g in gpus if g.energy_j is not None},
        cpu_energy_j=cpu_j,
        cpu_energy_reason=None if cpu_j is not None else "no_permission",
        dram_energy_reason="no_dram_domain",
        gpus=gpus,
    )
    return RawProcessResult.model_construct(
        cell_id="c",
        repeat=0,
        window_start_unix_s=start,
        window_end_unix_s=end,
        window_opened_after_barrier_s=opened,
        energy_metrics=energy,
        environment=Environment.model_construct(host=host, node_id=None),
        warmup=WarmupDone(generations=0, duration_s=0),
        inference_metrics=InferenceMetrics.model_construct(window_s=end - start),
        compute_metrics=ComputeMetrics(),
        precision_metadata=PrecisionMetadata(weights="fp16", activations="fp16", compute="fp16"),
    )


def test_ranks_on_two_gpus_add_up() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, 500))])
    assert total.gpu_energy_j == 1100
    assert total.per_gpu == {A: 600, B: 500}
    assert total.gpu_energy_uncertainty_j == 2
    assert total.duration_s == 2
    assert total.energy_confidence == "high"
    assert total.gpu_energy_net_j == 1100 - 2 * 50 * 2


def test_two_ranks_on_one_gpu_count_it_once_with_a_reason() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(A, 600))])
    assert total.gpu_energy_j == 600
    assert total.gpu_energy_net_j == 600 - 100
    assert total.energy_reasons == ("shared_gpu",)
    assert total.energy_confidence == "medium"
    assert [state.energy_j for state in total.gpus] == [600]


def test_windows_of_one_gpu_that_overlap_in_part_count_the_overlap_once() -> None:
    # 300 W from 10 to 12 and from 11 to 13: 300 W over three seconds.
    total = union([rank(10, 12, gpu(A, 600)), rank(11, 13, gpu(A, 600))])
    assert total.gpu_energy_j == pytest.approx(900)
    assert total.duration_s == 3


def test_windows_of_one_gpu_that_do_not_touch_add_up_without_the_time_between() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(20, 21, gpu(A, 300))])
    assert total.gpu_energy_j == 900
    assert total.duration_s == 3
    assert total.gpu_energy_uncertainty_j == 2
    assert total.gpu_energy_net_j == 900 - 150


def test_a_window_within_another_adds_nothing() -> None:
    total = union([rank(10, 14, gpu(A, 1000)), rank(11, 12, gpu(A, 400))])
    assert total.gpu_energy_j == 1000
    assert total.duration_s == 4


def test_ranks_that_disagree_on_a_shared_gpu_widen_its_uncertainty() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(A, 640))])
    assert total.gpu_energy_j == pytest.approx(620)
    assert total.gpu_energy_uncertainty_j == pytest.approx(1 + 20)


def test_one_unmeasured_gpu_makes_the_sum_null_with_its_reason() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, None, reasons=("gpu_lost",)))])
    assert total.gpu_energy_j is None
    assert total.gpu_energy_net_j is None
    assert total.energy_confidence is None
    assert total.energy_method == "none"
    assert total.energy_reasons == ("gpu_lost",)
    assert total.per_gpu == {A: 600}


def test_a_gpu_without_a_baseline_has_no_net_energy() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, 500, idle_w=None))])
    assert total.gpu_energy_j == 1100
    assert total.gpu_energy_net_j is None
    assert total.idle_power_w is None


def test_a_host_is_counted_once_however_many_ranks_it_has() -> None:
    ranks = [rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, 500)), rank(10, 12, gpu("GPU-c", 500), host="two")]
    assert union(ranks).cpu_energy_j == 40
    assert union(ranks).dram_energy_j is None
    assert union(ranks).dram_energy_reason == "no_dram_domain"


def test_different_wall_clocks_of_hosts_do_not_change_the_duration() -> None:
    total = union([rank(10, 12, gpu(A, 600), opened=0.0), rank(11.5, 13.5, gpu(B, 500), host="two", opened=0.1)])
    assert total.duration_s == pytest.approx(2.1)
    assert total.gpu_energy_net_j == pytest.approx(1100 - 2 * 50 * 2)


def test_one_host_without_permission_leaves_the_cpu_energy_null() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, 500), host="two", cpu_j=None)])
    assert total.cpu_energy_j is None
    assert total.cpu_energy_reason == "no_permission"


def test_a_single_rank_stays_as_it_is() -> None:
    only = rank(10, 12, gpu(A, 600))
    assert union([only]) == only.energy_metrics


def test_spans_in_any_order_give_the_same_energy() -> None:
    spans = [Span(start_s=s, end_s=e, energy_j=100 * (e - s)) for s, e in ((0, 2), (1, 3), (1.5, 2.5), (5, 6))]
    assert join(spans).energy_j == pytest.approx(400)
    assert join(reversed(spans)).energy_j == pytest.approx(400)
    assert join(spans).covered_s == 4


def test_emissions_are_energy_times_intensity() -> None:
    assert math.isclose(grams_co2e(7.2e6, grams_per_kwh=300), 600)


def test_an_overlap_of_windows_with_different_power_is_taken_at_their_mean_power() -> None:
    # 300 W from 10 to 12 and 200 W from 11 to 14: 600 J and 600 J less one second at 250 W.
    exact = gpu(A, 600, idle_w=40).model_copy(update={"idle_power_uncertainty_w": 0.25})
    total = union([rank(10, 12, exact), rank(11, 14, gpu(A, 600))])
    assert total.gpu_energy_j == pytest.approx(950)
    assert total.gpu_energy_uncertainty_j == pytest.approx(1 + 100 / 2)
    assert total.idle_power_w == 40  # the less uncertain of 40 and 50 W
    assert total.gpu_energy_net_j == pytest.approx(950 - 40 * 4)
    assert total.gpu_energy_net_uncertainty_j == pytest.approx(51 + 0.25 * 4)
    assert [(state.energy_j, state.energy_uncertainty_j) for state in total.gpus] == [(950, 51)]


def test_of_windows_that_begin_together_the_longer_one_contains_the_other() -> None:
    spans = [Span(start_s=0, end_s=1, energy_j=100), Span(start_s=0, end_s=3, energy_j=600)]
    assert join(spans).energy_j == join(reversed(spans)).energy_j == 600
    assert join(spans).covered_s == 3


def test_the_uncertainty_of_windows_that_overlap_is_the_larger_and_of_separate_ones_the_sum() -> None:
    first = Span(start_s=0, end_s=2, energy_j=200, uncertainty_j=3)
    beside, later = (Span(start_s=s, end_s=s + 2, energy_j=200, uncertainty_j=2) for s in (1, 2))
    assert (join([first, beside]).energy_j, join([first, beside]).uncertainty_j) == (300, 3)
    assert (join([first, later]).energy_j, join([first, later]).uncertainty_j) == (400, 5)
    assert (join([first, beside]).start_s, join([first, beside]).end_s) == (0, 3)


def test_a_window_over_a_gap_between_two_others_fills_it() -> None:
    # 100 W from 0 to 1 and from 3 to 4, then 100 W from 0.5 to 3.5: 400 J over four seconds.
    spans = [Span(start_s=s, end_s=e, energy_j=100 * (e - s)) for s, e in ((0, 1), (0.5, 3.5), (3, 4))]
    assert join(spans).energy_j == pytest.approx(400)
    assert join(spans).covered_s == pytest.approx(4)


def test_a_join_of_no_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        join([])


def with_energy(one: RawProcessResult, **changed: object) -> RawProcessResult:
    return one.model_copy(update={"energy_metrics": one.energy_metrics.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("confidences", "shared", "lowest"),
    [
        (("high", "medium"), False, "medium"),
        (("low", "high"), False, "low"),
        (("high", "high"), True, "medium"),
        (("low", "high"), True, "low"),
        (("high", "high"), False, "high"),
    ],
)
def test_ranks_have_the_lowest_confidence_and_sharing_a_gpu_lowers_it(confidences, shared, lowest) -> None:
    ranks = [rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(A if shared else B, 600))]
    ranks = [with_energy(one, energy_confidence=level) for one, level in zip(ranks, confidences, strict=True)]
    assert union(ranks).energy_confidence == lowest


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(("nvml_counter", "nvml_power"), "nvml_power"), (("nvml_power", "nvml_counter"), "nvml_power")],
)
def test_ranks_have_the_less_exact_method_and_the_longest_period(methods, expected) -> None:
    ranks = [
        rank(10, 12, gpu(uuid, 600).model_copy(update={"counter_period_ms": period}))
        for uuid, period in ((A, 20.0), (B, 100.0))
    ]
    ranks = [with_energy(one, energy_method=method) for one, method in zip(ranks, methods, strict=True)]
    assert union(ranks).energy_method == expected
    assert union(ranks).counter_period_ms == 100.0


def test_ranks_that_only_measure_their_processors_say_so() -> None:
    ranks = [rank(10, 12), rank(10, 12)]
    assert union(ranks).energy_method == "none"
    by_host = [with_energy(one, energy_method="rapl") for one in ranks]
    assert (union(by_host).energy_method, union(by_host).cpu_energy_j) == ("rapl", 20)


def test_reasons_of_ranks_are_joined_and_a_processors_energy_counts_once_per_host() -> None:
    ranks = [
        rank(10, 12, gpu(A, 600, reasons=("short_window",)), cpu_j=30.0),
        rank(11, 14, gpu(A, 600, reasons=("idle_drift",)), cpu_j=30.0),  # 15 W, then 10 W, one second of both
    ]
    assert union(ranks).energy_reasons == ("idle_drift", "shared_gpu", "short_window")
    assert union(ranks).cpu_energy_j == pytest.approx(60 - 12.5)


def test_uncertainties_of_two_gpus_add_up_with_that_of_their_idle_power() -> None:
    total = union([rank(10, 12, gpu(A, 600)), rank(10, 12, gpu(B, 500, idle_w=30.0))])
    assert total.gpu_energy_uncertainty_j == 1 + 1
    assert total.gpu_energy_net_uncertainty_j == (1 + 0.5 * 2) + (1 + 0.5 * 2)
    assert total.idle_power_w == 80
    assert total.gpu_energy_net_j == 1100 - 80 * 2
