import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from tests.support.cells import GPT2, LLAMA, MIXTRAL, PROMPTS, QUALITY, TEXTS, needs_gpu, run
from workers.machine.environment import physical_cores
from workers.measure import Measurer
from workers.records import Precision, RandomPrompts, RawProcessResult, Run, Warmup, Window
from workers.records.errors import ModelLoadError, PromptError, UnsupportedError


@pytest.fixture(scope="module")
def measurer() -> Measurer:
    return Measurer(cpu_threads=1)  # a second thread only waits for the first while other tests run


def measure(measurer: Measurer, what: Run, **changed: object) -> RawProcessResult:
    return measurer.measure(what, **{"texts": TEXTS, "prior_runs": 0, **changed})


def test_a_run_counts_its_tokens_without_padding(measurer: Measurer) -> None:
    result = measure(measurer, run())
    metrics = result.inference_metrics
    assert (metrics.generations, metrics.requests) == (3, 6)
    assert metrics.prompt_tokens == 3 * 2 * 7
    assert metrics.generated_tokens == 3 * 2 * 5
    assert metrics.output_tokens_per_s == pytest.approx(30 / metrics.window_s)
    assert len(metrics.ttft_s) == 3
    assert [len(gaps) for gaps in metrics.itl_s] == [4, 4, 4]
    assert metrics.timing_method == "perf_counter"


def test_text_prompts_are_counted_without_their_padding(measurer: Measurer) -> None:
    result = measure(measurer, run(prompts=PROMPTS, input_tokens=10, batch_size=3))
    # cut to 10 bytes: 10, 3 ("No.") and 10
    assert result.inference_metrics.prompt_tokens == 3 * (10 + 3 + 10)


def test_the_times_of_repeats_do_not_accumulate(measurer: Measurer) -> None:
    for repeat in range(3):
        metrics = measure(measurer, run(repeat=repeat)).inference_metrics
        assert len(metrics.ttft_s) == len(metrics.itl_s) == 3


def test_a_model_is_loaded_once_for_cells_that_share_it(measurer: Measurer) -> None:
    measurer.release()
    first = measure(measurer, run(batch_size=1))
    second = measure(measurer, run(batch_size=4, output_tokens=2))
    third = measure(measurer, run(GPT2))
    assert [result.model_reused for result in (first, second, third)] == [False, True, False]
    assert first.load_s == second.load_s != third.load_s
    assert first.load_s > 0


def test_data_parallel_ranks_share_the_batch(measurer: Measurer) -> None:
    results = [measure(measurer, run(batch_size=4, processes=2), rank=rank) for rank in (0, 1)]
    assert [result.measured_batch_size for result in results] == [2, 2]
    assert [result.rank for result in results] == [0, 1]
    assert sum(result.inference_metrics.generated_tokens for result in results) == 3 * 4 * 5


def test_a_batch_that_cannot_be_divided_evenly_is_refused(measurer: Measurer) -> None:
    with pytest.raises(UnsupportedError, match="batch_size 3 cannot be divided evenly among 2 processes"):
        measure(measurer, run(batch_size=3, processes=2))


def test_the_ranks_wait_for_each_other_between_warm_up_and_window(measurer: Measurer) -> None:
    passed: list[float] = []
    before = time.perf_counter()
    result = measure(measurer, run(), barrier=lambda: passed.append(time.perf_counter()))
    assert len(passed) == 2
    assert result.window_opened_after_barrier_s is not None
    assert before < passed[1] < passed[1] + result.window_opened_after_barrier_s < time.perf_counter()
    assert measure(measurer, run()).window_opened_after_barrier_s is None


def test_the_actual_warm_up_is_recorded(measurer: Measurer) -> None:
    done = measure(measurer, run(warmup=Warmup(cv=1e-9, floor=2, cap=4))).warmup
    assert (done.generations, done.converged) == (4, False)
    assert done.cv is not None
    assert measure(measurer, run(warmup=Warmup(floor=2))).warmup.converged is None


def test_a_window_grows_to_its_limit_if_the_target_is_out_of_reach(measurer: Measurer) -> None:
    rule = Window(relative_uncertainty=1e-9, min_generations=2, max_generations=11)
    assert measure(measurer, run(window=rule)).inference_metrics.generations == 11


def test_a_window_ends_after_the_minimum_if_the_target_is_easy(measurer: Measurer) -> None:
    rule = Window(relative_uncertainty=1e9, min_generations=2, max_generations=11)
    assert measure(measurer, run(window=rule)).inference_metrics.generations == 2


def test_quality_is_measured_beside_cost_once_per_model(measurer: Measurer) -> None:
    first = measure(measurer, run(quality=QUALITY))
    assert first.quality.perplexity is not None
    assert first.quality.scored_tokens == 59
    assert first.quality.stride_tokens == 5
    assert measure(measurer, run(quality=QUALITY, batch_size=1)).quality == first.quality
    other = measure(measurer, run({**GPT2}, quality=QUALITY))
    assert other.quality.perplexity != first.quality.perplexity


def test_a_failed_perplexity_does_not_discard_the_measured_window(measurer: Measurer) -> None:
    result = measure(measurer, run({**GPT2, "vocab_size": 200}, quality=QUALITY))
    assert result.inference_metrics.generated_tokens == 30
    assert result.quality.perplexity is None
    assert result.quality.perplexity_reason is not None
    assert result.quality.perplexity_reason.startswith("PromptError: model 'tiny' has no tokenizer")


def test_a_run_without_quality_says_why_it_has_none(measurer: Measurer) -> None:
    quality = measure(measurer, run()).quality
    assert quality.perplexity is None
    assert quality.perplexity_reason == "not requested"


def test_a_run_on_the_cpu_has_no_gpu_energy(measurer: Measurer) -> None:
    result = measure(measurer, run())
    assert result.energy_metrics.gpu_energy_j is None
    assert result.energy_metrics.energy_reasons
    assert result.environment.gpu_uuids == ()
    assert result.compute_metrics.flops is None


def test_torch_computes_on_every_core_whatever_the_number_of_threads_before() -> None:
    torch.set_num_threads(1)
    Measurer()
    assert torch.get_num_threads() == physical_cores()
    Measurer(cpu_threads=1)
    assert torch.get_num_threads() == 1


def test_memory_and_process_are_recorded(measurer: Measurer) -> None:
    result = measure(measurer, run(), prior_runs=7)
    assert result.pid == os.getpid()
    assert result.prior_runs == 7
    assert result.compute_metrics.memory_method == "process_rss"
    assert result.compute_metrics.peak_memory_mb is not None
    assert result.compute_metrics.model_memory_mb == pytest.approx(4 * (73728 + 2 * 19200 + 5 * 64) / 1e6, rel=0.001)


def test_another_seed_gives_other_prompts_and_the_same_seed_the_same(
    measurer: Measurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(measurer, run())
    assert measurer.loaded is not None
    generate = measurer.loaded.model.generate
    prompts: list[torch.Tensor] = []

    def generate_and_record(*, input_ids: torch.Tensor, **options: Any) -> Any:
        prompts.append(input_ids)
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(measurer.loaded.model, "generate", generate_and_record)
    for seed in (0, 0, 1):
        measure(measurer, run(prompts=RandomPrompts(seed=seed)))
    by_run = [torch.stack(prompts[first : first + 4]) for first in (0, 4, 8)]  # warm-up and three generations each
    assert len(prompts) == 12
    assert all(torch.equal(one, of_run[0]) for of_run in by_run for one in of_run)
    assert torch.equal(by_run[0], by_run[1])
    assert not torch.equal(by_run[0], by_run[2])


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao"])
def test_every_precision_that_the_cpu_supports_is_measured(measurer: Measurer, precision: Precision) -> None:
    result = measure(measurer, run(precision=precision))
    assert result.inference_metrics.generated_tokens == 30
    assert result.precision_metadata.weights == precision.partition("-")[0]
    quantiser = result.environment.quantiser_version
    assert (quantiser is not None) == ("-" in precision)


def test_a_process_is_reusable_after_a_run_that_succeeded_and_after_one_that_did_not_load() -> None:
    measurer = Measurer(cpu_threads=1)
    assert measurer.changes() == ()
    measure(measurer, run(quality=QUALITY))
    assert measurer.changes() == ()
    with pytest.raises(ModelLoadError):
        measure(measurer, run({"model_type": "llama", "hidden_size": "wide"}))
    assert measurer.changes() == ()
    assert measure(measurer, run()).model_reused is False


def test_a_process_is_reusable_after_models_of_several_architectures_and_precisions() -> None:
    measurer = Measurer(cpu_threads=1)
    mamba = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 300, "state_size": 8}
    cells: list[tuple[dict[str, Any], Precision]] = [
        (LLAMA, "fp32"), (GPT2, "bf16"), (mamba, "fp32"), (mamba, "bf16"), (MIXTRAL, "fp32"), (LLAMA, "bf16"),
    ]  # fmt: skip
    for config, precision in cells:
        measure(measurer, run(config, precision=precision))
        assert measurer.changes() == (), (config["model_type"], precision)


def test_only_the_loaded_model_may_stay_in_memory() -> None:
    measurer = Measurer(cpu_threads=1)
    large = {**LLAMA, "hidden_size": 512, "num_attention_heads": 8, "vocab_size": 100_000}
    result = measure(measurer, run(large, batch_size=1))
    assert result.compute_metrics.model_memory_mb is not None
    assert result.compute_metrics.model_memory_mb > 400
    assert measurer.changes() == ()
    leak = torch.ones(100_000_000)
    (change,) = measurer.changes()
    assert re.fullmatch(r"host memory: \d\d\d MB more", change)
    del leak
    assert measurer.changes() == ()


def test_a_text_file_that_was_not_sent_is_named(measurer: Measurer) -> None:
    with pytest.raises(PromptError, match=r"texts of 'prompts.jsonl' \(sha256 d1"):
        measure(measurer, run(prompts=PROMPTS), texts={})


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8-bnb", "int4-bnb", "int8-torchao", "fp8-torchao"])
def test_the_memory_of_the_gpu_is_released(measurer: Measurer, precision: Precision) -> None:
    measurer.release()
    measurer = Measurer()
    before = torch.cuda.memory_allocated()
    what = run(precision=precision, device="cuda")
    result = measure(measurer, what)
    assert result.inference_metrics.timing_method == "cuda_events"
    assert result.environment.gpu_uuids[0].startswith("GPU-")
    assert result.compute_metrics.memory_method == "cuda_allocator"
    assert measurer.changes() == ()
    leak = torch.zeros(10_000_000, device="cuda")
    assert measurer.changes() == ("GPU memory: 40 MB more",)
    del leak
    assert measure(measurer, what).model_reused
    assert measurer.changes() == ()
    measurer.release()
    assert measurer.changes() == ()
    assert torch.cuda.memory_allocated() <= before + 1_000_000


@pytest.mark.slow
def test_the_process_that_measures_is_never_instrumented() -> None:
    script = """
import sys
from pathlib import Path
import torch
from tests.support.cells import run
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from orchestrator.costs.counting.process import EstimatorProcess
from orchestrator.costs.utilisation import with_cost
from workers.records import Shape
from workers.measure import Measurer

small_run = run(output_tokens=3)
shape = Shape(batch_size=2, input_tokens=7, output_tokens=3)
cost = EstimatorProcess().estimate(small_run.cell.model, [shape])[0]
before = {name: getattr(torch.nn.functional, name) for name in dir(torch.nn.functional)}
products = torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, torch.Tensor.__matmul__
instrumented = []

def check():
    instrumented.append("calflops" in sys.modules or bool(_get_current_dispatch_mode_stack()))

result = with_cost(Measurer().measure(small_run, texts={}, prior_runs=0, barrier=check), cost, None, split=1)
assert result.compute_metrics.flops.confidence == "high"
assert instrumented == [False, False], "right before the window"
assert {name: getattr(torch.nn.functional, name) for name in before} == before
assert (torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, torch.Tensor.__matmul__) == products
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
