"""The formulas of ranks and repeats, each worked out by hand on ranks that differ in everything."""

import math
from typing import Any

import pytest

from orchestrator.aggregate.compute import compute, peak_memory_mb, tokens_per_inference
from orchestrator.aggregate.energy import energy
from orchestrator.aggregate.inference import combine_ranks, inference
from orchestrator.aggregate.windows import covered_s, intervals, wall_clocks_agree
from workers.records import (
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    FlopsEstimates,
    FlopsResult,
    GpuState,
    InferenceMetrics,
    RawProcessResult,
)


def rank(
    *, start: float = 0.0, seconds: float = 2.0, opened: float | None = None, host: str = "one", **differs: Any
) -> RawProcessResult:
    tokens = {
        "generations": 2, "requests": 4, "prompt_tokens": 40, "generated_tokens": 12, "window_s": seconds,
        "output_tokens_per_s": 6.0, "ttft_s": (0.5, 0.3), "itl_s": ((0.1, 0.2), (0.1, 0.3)), "e2e_s": (0.8, 0.7),
        "time_uncertainty": 0.01,
    } | differs.pop("tokens", {})  # fmt: skip
    return RawProcessResult.model_construct(
        window_start_unix_s=1000.0 + start,
        window_end_unix_s=1000.0 + start + seconds,
        window_opened_after_barrier_s=opened,
        measured_batch_size=2,
        inference_metrics=InferenceMetrics(**tokens),
        compute_metrics=ComputeMetrics(**differs),
        environment=Environment.model_construct(host=host, node_id=None),
    )


OTHER = {
    "generations": 4, "requests": 8, "prompt_tokens": 80, "generated_tokens": 32, "ttft_s": (0.2,) * 4,
    "itl_s": ((0.1, 0.2, 0.3),) * 4, "e2e_s": (0.8,) * 4, "time_uncertainty": 0.03,
}  # fmt: skip
PAIR = [rank(), rank(start=0.5, seconds=3.0, tokens=OTHER)]
"""Two ranks side by side: 2 generations of 3 tokens from 0 to 2 s, and 4 of 4 tokens from 0.5 to 3.5 s."""


def test_counts_of_ranks_add_up_and_generations_are_their_mean() -> None:
    got = combine_ranks(PAIR)
    assert (got.generations, got.requests) == (3, 12)
    assert (got.prompt_tokens, got.generated_tokens) == (120, 44)
    assert (got.window_s, got.output_tokens_per_s) == (3.5, pytest.approx(44 / 3.5))
    assert got.time_uncertainty == 0.03


def test_times_of_ranks_side_by_side_are_halved_for_the_rates() -> None:
    got = combine_ranks(PAIR)
    assert got.prefill_tokens_per_s == pytest.approx(120 / ((0.8 + 0.8) / 2))
    assert got.decode_tokens_per_s == pytest.approx((44 - 12) / ((0.7 + 2.4) / 2))


def test_latencies_are_over_all_requests_of_all_ranks() -> None:
    got = combine_ranks(PAIR)
    assert got.ttft is not None
    assert got.itl is not None
    assert got.tpot is not None
    assert got.e2e is not None
    assert got.ttft.mean_s == pytest.approx((0.5 + 0.3 + 4 * 0.2) / 6)
    assert got.itl.mean_s == pytest.approx((0.7 + 4 * 0.6) / 16)
    assert got.tpot.mean_s == pytest.approx((0.15 + 0.2 + 4 * 0.2) / 6)
    assert got.e2e.mean_s == pytest.approx((0.8 + 0.7 + 4 * 0.8) / 6)
    assert (got.ttft.p50_s, got.ttft.p99_s) == (pytest.approx(0.2), pytest.approx(0.5))


def test_one_output_token_has_no_rate_of_decoding() -> None:
    only = {"generated_tokens": 4, "itl_s": ((), ())}
    got = combine_ranks([rank(tokens=only), rank(tokens=only)])
    assert (got.decode_tokens_per_s, got.itl, got.tpot) == (None, None, None)
    assert got.prefill_tokens_per_s == pytest.approx(80 / 0.8)


def test_repeats_add_counts_and_average_rates() -> None:
    repeats = [[rank(seconds=1.5)], [rank(seconds=6.0, tokens={"ttft_s": (0.2, 0.0)})]]
    got = inference(repeats, [combine_ranks(one) for one in repeats])
    assert (got.generations, got.requests, got.generated_tokens, got.window_s) == (4, 8, 24, 7.5)
    assert got.output_tokens_per_s == pytest.approx(4.0)  # of 8 and 2
    assert got.prefill_tokens_per_s == pytest.approx(100.0)  # of 50 and 200
    assert got.decode_tokens_per_s == pytest.approx(8 / 0.7)
    assert got.ttft is not None
    assert got.ttft.mean_s == pytest.approx(0.2)  # of 0.4 and 0.1


def flops(value: float, confidence: Any = "high", method: Any = "calflops") -> FlopsResult:
    return FlopsResult(value=value, method=method, confidence=confidence, precision="bf16")


COUNTED = [
    rank(flops=flops(1e9), flops_per_second=100.0, mfu=0.5, mbu=0.5, peak_memory_mb=10.0, model_memory_mb=7.0,
         peak_source="sheet", parameters=7, active_parameters=6,
         memory_method="cuda_allocator",
         estimates=FlopsEstimates(calflops=1e9, architecture=2e9, failures={"dispatcher": "first"})),
    rank(start=0.5, seconds=3.0, tokens=OTHER, flops=flops(3e9, "low", "parameter_estimate"), flops_per_second=300.0,
         mfu=0.75, mbu=0.25, peak_memory_mb=30.0, model_memory_mb=6.0, peak_source="other", parameters=5,
         active_parameters=4,
         estimates=FlopsEstimates(calflops=5e9, failures={"dispatcher": "second", "architecture": "none"})),
]  # fmt: skip


def computed(*repeats: list[RawProcessResult]) -> ComputeMetrics:
    return compute(repeats, every_rank=repeats, inference=inference(repeats, [combine_ranks(one) for one in repeats]))


def test_flops_of_ranks_add_up_with_the_lowest_confidence_and_its_method() -> None:
    got = computed(COUNTED)
    assert got.flops is not None
    assert (got.flops.value, got.flops.confidence, got.flops.method) == (4e9, "low", "parameter_estimate")
    assert (got.estimates.calflops, got.estimates.architecture) == (6e9, None)
    assert got.estimates.failures == {"dispatcher": "first", "architecture": "none"}


def test_flops_are_over_the_tokens_of_one_inference_and_times_the_tokens_of_a_second() -> None:
    got = computed(COUNTED)
    assert tokens_per_inference(COUNTED) == 12 / 2 + 32 / 4
    assert got.flops_per_token == pytest.approx(4e9 / 14)
    assert got.flops_per_second == pytest.approx(4e9 / 14 * 44 / 3.5)


def test_mfu_is_over_the_peak_of_all_cards() -> None:
    got = computed(COUNTED)
    assert got.mfu == pytest.approx(4e9 / 14 * 44 / 3.5 / (100 / 0.5 + 300 / 0.75))


@pytest.mark.parametrize("missing", [{"mfu": None}, {"flops_per_second": None}])
@pytest.mark.parametrize("which", [0, 1])
def test_mfu_is_null_where_one_rank_has_none(missing: dict[str, None], which: int) -> None:
    ranks = list(COUNTED)
    held = ranks[which].compute_metrics.model_copy(update=missing)
    ranks[which] = ranks[which].model_copy(update={"compute_metrics": held})
    got = computed(ranks)
    assert got.mfu is None
    assert got.flops_per_second is not None


def test_mbu_of_ranks_is_weighed_by_their_windows_and_that_of_repeats_is_averaged() -> None:
    assert computed(COUNTED).mbu == pytest.approx((0.5 * 2 + 0.25 * 3) / 5)
    got = computed([rank(mbu=0.8)], [rank(seconds=9.0, mbu=0.2)])
    assert got.mbu == pytest.approx(0.4)
    assert computed([rank(mbu=0.8), rank()]).mbu is None


def test_memory_is_the_largest_of_the_ranks_and_the_mean_of_the_repeats() -> None:
    assert peak_memory_mb(COUNTED) == 30.0
    got = computed(COUNTED, [rank(peak_memory_mb=20.0, model_memory_mb=9.0), rank(peak_memory_mb=5.0)])
    assert got.peak_memory_mb == pytest.approx(math.sqrt(30 * 20))
    assert got.model_memory_mb is None  # the last rank does not know its own
    assert computed(COUNTED).model_memory_mb == 7.0


def test_of_repeats_that_differ_in_confidence_the_lowest_is_the_cells() -> None:
    sure, unsure = rank(flops=flops(1e9)), rank(flops=flops(2e9, "medium", "architecture"))
    for repeats in ([[sure], [unsure]], [[unsure], [sure]]):
        found = computed(*repeats).flops
        assert found is not None
        assert (found.value, found.confidence, found.method) == (2e9, "medium", "architecture")


FIRST = EnergyMetrics(
    gpu_energy_j=100.0, gpu_energy_uncertainty_j=2.0, gpu_energy_net_j=80.0, gpu_energy_net_uncertainty_j=3.0,
    idle_power_w=50.0, duration_s=2.0, energy_method="nvml_counter", energy_confidence="high",
    energy_reasons=("short_window",), counter_period_ms=20.0, per_gpu={"a": 70.0, "b": 30.0}, cpu_energy_j=11.0,
    dram_energy_j=5.0,
)  # fmt: skip
SECOND = EnergyMetrics(
    gpu_energy_j=60.0, gpu_energy_uncertainty_j=1.0, gpu_energy_net_j=40.0, gpu_energy_net_uncertainty_j=0.5,
    idle_power_w=70.0, duration_s=4.0, energy_method="nvml_power", energy_confidence="medium",
    energy_reasons=("idle_drift", "short_window"), counter_period_ms=100.0, per_gpu={"a": 60.0}, cpu_energy_j=9.0,
    dram_energy_j=4.0,
)  # fmt: skip


def test_energies_and_their_uncertainties_add_up_over_repeats_and_idle_power_is_their_mean() -> None:
    got = energy([FIRST, SECOND])
    assert (got.gpu_energy_j, got.gpu_energy_uncertainty_j) == (160.0, 3.0)
    assert (got.gpu_energy_net_j, got.gpu_energy_net_uncertainty_j) == (120.0, 3.5)
    assert (got.idle_power_w, got.duration_s, got.counter_period_ms) == (60.0, 6.0, 100.0)
    assert got.per_gpu == {"a": 130.0, "b": 30.0}
    assert (got.cpu_energy_j, got.dram_energy_j) == (20.0, 9.0)


def test_repeats_have_the_lowest_confidence_with_its_method_and_each_reason_once() -> None:
    for repeats in ([FIRST, SECOND], [SECOND, FIRST]):
        got = energy(repeats)
        assert (got.energy_confidence, got.energy_method) == ("medium", "nvml_power")
        assert sorted(got.energy_reasons) == ["idle_drift", "short_window"]


def test_a_repeat_without_a_confidence_is_trusted_least() -> None:
    got = energy([FIRST.model_copy(update={"energy_confidence": "medium"}),
                  SECOND.model_copy(update={"energy_confidence": None})])  # fmt: skip
    assert (got.energy_method, got.energy_confidence) == ("nvml_power", "medium")


def test_a_repeat_without_a_figure_leaves_its_sum_null_and_the_other_sums_whole() -> None:
    part = SECOND.model_copy(
        update={"idle_power_w": None, "gpu_energy_net_j": None, "cpu_energy_j": None, "cpu_energy_reason": "no_rapl"}
    )
    got = energy([FIRST, part])
    assert (got.idle_power_w, got.gpu_energy_net_j, got.cpu_energy_j, got.cpu_energy_reason) == (
        None, None, None, "no_rapl",
    )  # fmt: skip
    assert (got.gpu_energy_j, got.dram_energy_j) == (160.0, 9.0)


def test_repeats_that_only_have_the_processors_energy_say_so() -> None:
    host = EnergyMetrics(energy_method="rapl", duration_s=1.0, cpu_energy_j=3.0)
    assert energy([host, host]).energy_method == "rapl"
    assert energy([host, FIRST]).energy_method == "none"
    assert energy([host, FIRST]).energy_confidence is None


def test_a_card_that_one_repeat_could_not_read_has_no_sum() -> None:
    unread = SECOND.model_copy(update={"gpus": (GpuState(uuid="b", energy_j=None), GpuState(uuid="a", energy_j=60.0))})
    assert energy([FIRST, unread]).per_gpu == {"a": 130.0}


def test_windows_run_from_the_barrier_or_by_the_wall_clock_of_their_one_host() -> None:
    by_barrier = [rank(opened=0.1, host="one"), rank(start=50.0, seconds=3.0, opened=0.4, host="two")]
    assert [tuple(one) for one in intervals(by_barrier)] == [(0.1, pytest.approx(2.1)), (0.4, pytest.approx(3.4))]
    assert covered_s(by_barrier) == pytest.approx(3.3)
    assert [tuple(one) for one in intervals(PAIR)] == [(1000.0, 1002.0), (1000.5, 1003.5)]
    apart = [rank(start=5.0, seconds=1.0), rank(), rank(start=0.5, seconds=1.0)]
    assert covered_s(apart) == 3.0


@pytest.mark.parametrize(("late_s", "agree"), [(0.0, True), (0.25, True), (0.26, False), (-0.26, False)])
def test_wall_clocks_of_two_hosts_agree_within_a_quarter_of_a_second_at_the_barrier(late_s: float, agree: bool) -> None:
    ranks = [rank(opened=0.5, start=0.5), rank(opened=2.0, start=2.0 + late_s, host="two")]
    assert wall_clocks_agree(ranks) is agree
    assert wall_clocks_agree([rank(opened=0.5), rank(opened=0.5, start=9.0)])  # one host has one clock


def test_the_window_of_a_rank_alone_is_its_own_to_the_last_digit() -> None:
    assert covered_s([rank(start=0.1, seconds=0.3)]) == 0.3  # not 1000.4 - 1000.1


def test_what_is_one_for_all_ranks_is_the_firsts() -> None:
    got = computed(COUNTED)
    assert (got.peak_source, got.parameters, got.active_parameters) == ("sheet", 7, 6)
    assert got.memory_method == "cuda_allocator"


def test_flops_are_over_the_tokens_of_the_first_repeat() -> None:
    got = computed([rank(flops=flops(6e9))], [rank(flops=flops(6e9), tokens={"generated_tokens": 24})])
    assert got.flops_per_token == pytest.approx(1e9)
