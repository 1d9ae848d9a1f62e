"""Ranks and repeats as one row: tokens and FLOPs add up, time is the union, a sum that lacks a part is null."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.aggregate import aggregate, raw_rows, reference_perplexities
from orchestrator.config import Emissions
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult, Spread, SweepInfo
from workers.records import (
    Cell,
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    FlopsEstimates,
    FlopsResult,
    GpuState,
    InferenceMetrics,
    ModelSpec,
    Outcome,
    PrecisionMetadata,
    ProcessFailure,
    QualityMetrics,
    RawProcessResult,
    Run,
    WarmupDone,
)

SWEEP = SweepInfo(sweep="s", sweep_hash="h", ray_version="2", driver_host="here", started_unix_s=1.0)
PEAK_FLOPS_PER_S = 4e9
"""Of each rank's card."""

CELL = Cell(model=ModelSpec(name="m", config={"model_type": "llama"}), precision="bf16", batch_size=4, output_tokens=3)


def result(*, repeat=0, rank=0, rows=4, start=100.0, seconds=2.0, generations=2, step=0.1, gpu="GPU-a", joules=50.0,
           confidence="high", method="calflops", perplexity=None, peak=10.0, opened=None, host="h"):  # fmt: skip
    gpus = () if gpu is None else (GpuState(uuid=gpu, energy_j=joules, energy_uncertainty_j=1.0),)
    return RawProcessResult(
        cell_id=CELL.cell_id, repeat=repeat, rank=rank, pid=1, prior_runs=repeat, model_reused=False, load_s=1.0 + rank,
        window_start_unix_s=start, window_end_unix_s=start + seconds, window_opened_after_barrier_s=opened,
        measured_batch_size=rows,
        warmup=WarmupDone(generations=1, duration_s=0.1),
        inference_metrics=InferenceMetrics(
            generations=generations, requests=generations * rows, prompt_tokens=generations * rows * 8,
            generated_tokens=generations * rows * 3, window_s=seconds,
            output_tokens_per_s=generations * rows * 3 / seconds,
            ttft_s=(0.5,) * generations, itl_s=((step, 2 * step),) * generations, e2e_s=(1.0,) * generations,
        ),
        energy_metrics=EnergyMetrics(
            gpu_energy_j=None if gpu is None else joules, gpu_energy_uncertainty_j=None if gpu is None else 1.0,
            duration_s=seconds, energy_method="none" if gpu is None else "nvml_counter",
            energy_confidence=None if gpu is None else "high", energy_reasons=("no_gpu",) if gpu is None else (),
            per_gpu={gpu: joules} if gpu and joules else {}, gpus=gpus,
        ),
        compute_metrics=ComputeMetrics(
            flops=FlopsResult(value=1e9, method=method, confidence=confidence, precision="bf16"),
            estimates=FlopsEstimates(calflops=1e9, architecture=None), peak_memory_mb=peak,
            flops_per_second=1e9 * generations / seconds, mfu=1e9 * generations / seconds / PEAK_FLOPS_PER_S,
        ),
        precision_metadata=PrecisionMetadata(weights="int4", activations="bf16", compute="bf16"),
        quality=QualityMetrics(perplexity=perplexity),
        environment=Environment(
            host=host, device="cuda", platform="p", python_version="3", torch_version="2", transformers_version="5",
            joulegrid_version="0",
        ),
    )  # fmt: skip


def ok(*results):
    cell = CELL.model_copy(update={"processes": len(results)})
    results = tuple(one.model_copy(update={"cell_id": cell.cell_id}) for one in results)
    return Outcome(run=Run(cell=cell, repeat=results[0].repeat), results=results)


def row(*outcomes, cell=CELL, **settings):
    return aggregate(cell, outcomes, SWEEP, repeats_asked=len(outcomes), **settings)


def test_parallel_ranks_add_tokens_and_flops_over_the_union_of_their_windows():
    two = CELL.model_copy(update={"processes": 2})
    got = row(ok(result(rows=2), result(rank=1, rows=2, start=101.0, gpu="GPU-b")), cell=two)
    assert got.inference_metrics.window_s == 3.0
    assert got.inference_metrics.generated_tokens == 24
    assert got.inference_metrics.output_tokens_per_s == 8.0
    assert got.compute_metrics.flops.value == 2e9
    assert got.compute_metrics.flops_per_token == 2e9 / (4 * 3)
    assert got.compute_metrics.flops_per_second == pytest.approx(4e9 / 3)
    assert got.energy_metrics.gpu_energy_j == 100.0


@pytest.mark.parametrize("skew", [0.0, 1.5, -60.0])
def test_the_windows_of_a_gang_start_at_its_barrier_whatever_the_hosts_clocks_show(skew):
    two = CELL.model_copy(update={"processes": 2})
    ranks = (
        result(rows=2, opened=0.0, host="one"),
        result(rank=1, rows=2, start=100.1 + skew, opened=0.1, seconds=2.5, gpu="GPU-b", host="two"),
    )
    got = row(ok(*ranks), cell=two)
    assert got.inference_metrics.window_s == pytest.approx(2.6)
    assert got.inference_metrics.output_tokens_per_s == pytest.approx(24 / 2.6)
    assert got.energy_metrics.duration_s == pytest.approx(2.6)
    assert got.mixed == (("wall_clocks",) if skew else ())


def test_windows_without_a_barrier_time_on_several_hosts_are_assumed_to_open_together():
    two = CELL.model_copy(update={"processes": 2})
    ranks = (result(rows=2, host="one"), result(rank=1, rows=2, start=101.5, gpu="GPU-b", host="two"))
    assert row(ok(*ranks), cell=two).inference_metrics.window_s == 2.0
    assert row(ok(*ranks), cell=two).mixed == ("wall_clocks",)


def test_generations_are_of_the_whole_batch_like_the_flops():
    two = CELL.model_copy(update={"processes": 2})
    got = row(ok(result(rows=2), result(rank=1, rows=2, generations=5, gpu="GPU-b")), cell=two)
    assert (got.inference_metrics.generations, got.inference_metrics.requests) == (3.5, 14)
    assert got.compute_metrics.flops_per_second == got.compute_metrics.flops.value * 3.5 / 2


def test_two_ranks_on_one_gpu_count_its_energy_once():
    two = CELL.model_copy(update={"processes": 2})
    got = row(ok(result(rows=2), result(rank=1, rows=2)), cell=two)
    assert got.energy_metrics.gpu_energy_j == pytest.approx(50.0)
    assert got.energy_per_output_token_j == pytest.approx(50 / 24)


def test_ranks_of_one_replica_do_not_repeat_its_tokens_and_flops():
    split = CELL.model_copy(update={"tensor_parallel": 2})
    got = row(ok(result(), result(rank=1, gpu="GPU-b", peak=20.0)), cell=split)
    assert got.inference_metrics.generated_tokens == 24
    assert got.compute_metrics.flops.value == 1e9
    assert got.energy_metrics.gpu_energy_j == 100.0
    assert got.compute_metrics.peak_memory_mb == 20.0
    assert got.load_s == 2.0


def test_repeats_add_counts_times_and_joules_but_not_flops():
    got = row(ok(result()), ok(result(repeat=1, start=200.0, seconds=4.0, joules=90.0)))
    assert got.inference_metrics.window_s == 6.0
    assert got.inference_metrics.generated_tokens == 48
    assert got.energy_metrics.gpu_energy_j == 140.0
    assert got.energy_metrics.gpu_energy_uncertainty_j == 2.0
    assert got.compute_metrics.flops.value == 1e9
    assert got.normalised_metrics.tokens_per_effective_pflop == pytest.approx(12 / 1e-6)
    assert got.normalised_metrics.precision_factor == 1.0  # int4 weights, but bf16 products


def test_sequences_that_come_back_for_one_prompt_are_all_tokens_of_the_inference():
    once = result()
    tokens = once.inference_metrics.model_copy(update={"generated_tokens": 48, "requests": 16})
    got = row(ok(once.model_copy(update={"inference_metrics": tokens})))
    assert got.compute_metrics.flops_per_token == 1e9 / 24
    assert got.normalised_metrics.tokens_per_effective_pflop == pytest.approx(24 / 1e-6)


def test_the_lowest_confidence_is_kept_with_its_method():
    got = row(ok(result()), ok(result(repeat=1, confidence="low", method="parameter_estimate")))
    assert (got.compute_metrics.flops.confidence, got.compute_metrics.flops.method) == ("low", "parameter_estimate")
    assert got.mixed == ("flops_method",)


def without_flops(measured):
    nothing = ComputeMetrics(flops_reason="no hub", peak_memory_mb=10.0)
    return measured.model_copy(update={"compute_metrics": nothing})


@pytest.mark.parametrize("missing", [0, 1])
def test_a_repeat_without_flops_changes_no_figure_of_the_others(missing):
    repeats = [result(), result(repeat=1, start=200.0, seconds=3.0)]
    whole = row(*map(ok, repeats)).compute_metrics
    repeats[missing] = without_flops(repeats[missing])
    assert row(*map(ok, repeats)).compute_metrics == whole
    assert whole.flops_per_second == pytest.approx(1e9 * math.sqrt(2 / 2 * 2 / 3))
    assert whole.mfu == pytest.approx(whole.flops_per_second / PEAK_FLOPS_PER_S)


def test_the_mfu_of_a_gang_is_its_flops_per_second_over_the_peak_of_all_its_cards():
    two = CELL.model_copy(update={"processes": 2})
    late = result(rank=1, rows=2, gpu="GPU-b", opened=1.0)
    got = row(ok(result(rows=2, opened=0.0), late), cell=two).compute_metrics
    assert got.mfu == pytest.approx(got.flops_per_second / (2 * PEAK_FLOPS_PER_S))


def test_flops_that_lack_a_rank_are_null_with_its_reason():
    two = CELL.model_copy(update={"processes": 2})
    got = row(ok(result(rows=2), without_flops(result(rank=1, rows=2, gpu="GPU-b"))), cell=two).compute_metrics
    assert (got.flops, got.flops_per_second, got.mfu, got.flops_reason) == (None, None, None, "no hub")


def test_a_peak_that_lacks_a_rank_is_null_with_its_reason():
    silent = ComputeMetrics(peak_memory_reason="not permitted")
    got = row(ok(result()), ok(result(repeat=1).model_copy(update={"compute_metrics": silent})))
    assert (got.compute_metrics.peak_memory_mb, got.compute_metrics.peak_memory_reason) == (None, "not permitted")


def test_an_estimator_that_failed_stays_null():
    assert row(ok(result())).compute_metrics.estimates.architecture is None
    assert row(ok(result())).compute_metrics.estimates.calflops == 1e9


def test_energy_that_lacks_a_repeat_is_null_with_the_reason():
    got = row(ok(result()), ok(result(repeat=1, gpu=None)))
    assert got.energy_metrics.gpu_energy_j is None
    assert got.energy_per_output_token_j is None
    assert got.statistics.energy_per_output_token_j_over_repeats == Spread(n=1, values=(50 / 24, None))
    assert got.normalised_metrics.tokens_per_joule is None
    assert "no_gpu" in got.energy_metrics.energy_reasons


def test_a_card_that_was_not_read_in_one_repeat_has_no_total_over_them():
    got = row(ok(result()), ok(result(repeat=1, gpu="GPU-b", joules=None)), ok(result(repeat=2, gpu="GPU-b")))
    assert (got.energy_metrics.gpu_energy_j, got.energy_metrics.energy_method) == (None, "none")
    assert got.energy_metrics.per_gpu == {"GPU-a": 50.0}


def test_percentiles_are_of_all_requests_and_a_mean_is_the_repeats_own():
    got = row(ok(result()), ok(result(repeat=1, step=0.3))).inference_metrics
    assert got.itl.p99_s == pytest.approx(0.6)
    assert got.itl.mean_s == pytest.approx((0.15 * 0.45) ** 0.5)
    assert got.tpot.mean_s == pytest.approx((0.15 * 0.45) ** 0.5)
    assert (got.ttft.mean_s, got.ttft.p50_s) == (0.5, 0.5)


REPEATS = st.lists(
    st.tuples(st.floats(0.01, 1e3), st.floats(1e-4, 10.0), st.floats(1e-2, 1e6), st.floats(1.0, 1e5)),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=40)
@given(REPEATS)
def test_every_headline_figure_is_the_centre_of_its_own_interval(repeats):
    """Whatever the repeats (seconds of the window, seconds a step, joules, MB), a figure is one number everywhere."""
    outcomes = [
        ok(result(repeat=i, start=2e3 * i, seconds=seconds, step=step, joules=joules, peak=peak))
        for i, (seconds, step, joules, peak) in enumerate(repeats)
    ]
    (got,) = table(AggregatedResult, [row(*outcomes)]).to_pylist()
    for column, stem in HEADLINES.items():
        assert got[column] == got[f"{stem}_over_repeats_mean"], column
        if len(repeats) > 1:
            low, high = got[f"{stem}_over_repeats_ci95_low"], got[f"{stem}_over_repeats_ci95_high"]
            assert 0 < low <= got[column] <= high, column


HEADLINES = {
    "output_tokens_per_s": "output_tokens_per_s", "ttft_mean_s": "ttft_s", "tpot_mean_s": "tpot_s",
    "e2e_mean_s": "e2e_s", "energy_per_output_token_j": "energy_per_output_token_j", "peak_memory_mb": "peak_memory_mb",
}  # fmt: skip


@settings(max_examples=40)
@given(REPEATS)
def test_derived_figures_are_consistent_with_the_figures_of_the_cell(repeats):
    outcomes = [
        ok(result(repeat=i, start=2e3 * i, seconds=seconds, step=step, joules=joules))
        for i, (seconds, step, joules, _) in enumerate(repeats)
    ]
    got = row(*outcomes)
    inference, compute, normalised = got.inference_metrics, got.compute_metrics, got.normalised_metrics
    speed, joules_per_token = inference.output_tokens_per_s, got.energy_per_output_token_j
    assert normalised.tokens_per_joule == pytest.approx(1 / joules_per_token)
    assert normalised.tokens_per_second_per_watt == pytest.approx(1 / joules_per_token)
    assert compute.flops_per_second == pytest.approx(compute.flops_per_token * speed)
    assert got.efficiency_flops_per_watt == pytest.approx(compute.flops_per_token / joules_per_token)
    assert inference.prefill_tokens_per_s * inference.ttft.mean_s == pytest.approx(4 * 8)
    assert inference.decode_tokens_per_s * inference.itl.mean_s == pytest.approx(4)


def test_values_and_start_times_of_the_repeats_have_the_same_order():
    first, second = result(start=100.0, joules=50.0), result(repeat=1, start=300.0, gpu=None)
    found = row(ok(first), ok(second))
    assert found.repeat_started_unix_s == (100.0, 300.0)
    assert found.statistics.output_tokens_per_s_over_repeats.values == (12.0, 12.0)
    assert found.statistics.energy_per_output_token_j_over_repeats.values == (pytest.approx(50 / 24), None)


def test_one_repeat_has_no_interval():
    spread = row(ok(result())).statistics.output_tokens_per_s_over_repeats
    assert (spread.n, spread.std, spread.ci95_low) == (1, None, None)


def failed(status="oom", attempt=1, earlier=()):
    failure = ProcessFailure(
        cell_id=CELL.cell_id, repeat=1, status=status, error_type="X", error_message="no room", attempt=attempt,
        traceback="line 1",
    )  # fmt: skip
    return Outcome(run=Run(cell=CELL, repeat=1), failure=failure, earlier_failures=earlier)


def test_a_cell_with_a_failed_repeat_is_not_ok_but_keeps_its_figures():
    got = row(ok(result()), failed())
    assert (got.status, got.error_type, got.error_message) == ("oom", "X", "no room")
    assert (got.repeats_asked, got.repeats_ok) == (2, 1)
    assert got.inference_metrics.generated_tokens == 24


def test_of_several_failures_the_row_names_the_first_that_was_attempted():
    first, second, not_tried = failed("lost"), failed("oom"), failed("failed", attempt=0)
    logged = first.failure.model_copy(update={"log": "logs/first.log", "error_type": "First", "error_message": "why"})
    got = row(not_tried, first.model_copy(update={"failure": logged}), second)
    assert (got.status, got.error_type, got.error_message, got.error_log) == ("lost", "First", "why", "logs/first.log")


def test_attempts_are_counted_and_skipped_runs_have_none():
    lost = failed("lost").failure
    assert row(failed("lost", attempt=3, earlier=(lost, lost))).attempts == 3
    assert row(failed("skipped", attempt=0)).attempts == 0


def test_every_attempt_is_a_raw_row():
    lost = failed("lost").failure
    retried = Outcome(run=Run(cell=CELL, repeat=1), results=(result(repeat=1),), earlier_failures=(lost,))
    rows = raw_rows(CELL, [retried, failed()], SWEEP)
    assert [(r.status, r.attempt) for r in rows] == [("ok", 2), ("lost", 1), ("oom", 1)]
    assert [r.error_traceback for r in rows] == [None, "line 1", "line 1"]


def test_perplexity_is_compared_with_the_reference():
    plain = ok(result(perplexity=20.0))
    assert reference_perplexities([plain, failed()]) == {CELL.model_key: 20.0}
    got = row(ok(result(perplexity=25.0)), reference_perplexity=20.0)
    assert got.precision_metadata.perplexity_degradation == pytest.approx(0.25)
    assert row(ok(result()), reference_perplexity=20.0).precision_metadata.perplexity_degradation is None


def test_a_model_with_other_load_options_is_another_reference():
    packed = CELL.model_copy(update={"precision": "int4-bnb", "load": {"quantization_config": {"x": 1}}})
    assert packed.model_key == CELL.model_key
    assert CELL.model_copy(update={"load": {"num_hidden_layers": 1}}).model_key != CELL.model_key


def test_emissions_are_computed_only_on_request():
    requested = Emissions(grams_per_kwh=360.0, source="grid operator", date="2026-01-01")
    got = row(ok(result()), emissions=requested)
    assert got.emissions_g == pytest.approx(50 * 360 / 3.6e6)
    assert "grid operator" in got.emissions_source
    assert row(ok(result())).emissions_g is None


def test_the_uncertainty_of_a_tokens_energy_is_the_same_share_as_that_of_all_energy():
    got = row(ok(result()), ok(result(repeat=1, start=200.0, joules=200.0)))
    assert got.energy_per_output_token_j == pytest.approx(100 / 24)  # of 50 and 200 J for 24 tokens each
    assert got.energy_per_output_token_uncertainty_j == pytest.approx(100 / 24 * 2 / 250)
    assert row(ok(result(gpu=None))).energy_per_output_token_uncertainty_j is None


def test_flops_per_watt_is_over_the_mean_power_of_the_repeats():
    got = row(ok(result()), ok(result(repeat=1, start=200.0, seconds=8.0, joules=50.0)))
    assert got.compute_metrics.flops_per_second == pytest.approx(0.5e9)  # of 1 and 0.25 GFLOP/s
    assert got.efficiency_flops_per_watt == pytest.approx(0.5e9 / 12.5)  # of 25 and 6.25 W


def test_one_repeat_whose_wall_clocks_differ_is_enough_to_say_so():
    two = CELL.model_copy(update={"processes": 2})

    def repeat(number, skew):
        late = result(repeat=number, rank=1, rows=2, start=100.0 + skew, opened=0.0, gpu="GPU-b", host="two")
        return ok(result(repeat=number, rows=2, opened=0.0, host="one"), late)

    assert row(repeat(0, 0.0), repeat(1, 9.0), cell=two).mixed == ("wall_clocks",)


def test_a_cell_has_the_longest_load_and_the_most_prior_runs_of_its_repeats():
    got = row(ok(result()), ok(result(repeat=3)), ok(result(repeat=1)))
    assert (got.prior_runs, got.load_s, got.attempts) == (3, 1.0, 3)


def test_settings_are_those_that_differ_from_their_defaults():
    settings = json.loads(row(ok(result())).cell.settings)
    assert (settings["batch_size"], "input_tokens" in settings) == (4, False)


def test_what_is_one_for_all_ranks_is_told_by_the_first():
    two = CELL.model_copy(update={"processes": 2})
    first, second = (result(rank=n, rows=2, opened=0.0, host=host, gpu=f"GPU-{n}") for n, host in enumerate("ab"))
    second = second.model_copy(
        update={"window_start_unix_s": 100.5, "attention_used": "eager", "quality": QualityMetrics(perplexity=30.0)}
    )
    first = first.model_copy(update={"attention_used": "sdpa", "quality": QualityMetrics(perplexity=20.0)})
    got = row(ok(first, second), cell=two)
    assert (got.environment.host, got.repeat_started_unix_s, got.quality.perplexity) == ("a", (100.0,), 20.0)
    assert got.attention_used == "sdpa"
    assert [*reference_perplexities([ok(first, second)]).values()] == [20.0]


def test_tokens_over_effective_flops_are_those_of_the_first_repeat():
    longer = result(repeat=1, start=200.0)
    tokens = longer.inference_metrics.model_copy(update={"generated_tokens": 48})
    got = row(ok(result()), ok(longer.model_copy(update={"inference_metrics": tokens})))
    assert got.normalised_metrics.tokens_per_effective_pflop == pytest.approx(12 / 1e-6)
