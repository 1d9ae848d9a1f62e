"""Made-up sweeps for report tests, built from the records and written as real Parquet."""

import math
import random
from pathlib import Path

import pyarrow.parquet as pq

from orchestrator.aggregate.spread import spread
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult, CellSettings, Spread, Statistics, SweepInfo
from workers.records import (
    ComputeMetrics,
    Distribution,
    EnergyMetrics,
    Environment,
    FlopsEstimates,
    FlopsResult,
    InferenceMetrics,
    PrecisionMetadata,
    digest,
)

_GB = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8-bnb": 1.0, "int4-bnb": 0.55}
_SPEED = {"fp32": 0.5, "fp16": 1.0, "bf16": 1.0, "int8-bnb": 0.35, "int4-bnb": 0.7}
_GRADES = ("high", "medium", "low")
_METHODS = {"high": "calflops", "medium": "architecture", "low": "parameter_estimate"}


def gpu_sweep(models: int = 2, batches: tuple[int, ...] = (1, 4, 16, 64), workloads: int = 1) -> list[AggregatedResult]:
    """Every precision x batch x workload of some models on a GPU; the largest fp32 cell is out of memory."""
    rng = random.Random(0)
    return [
        measured(
            rng, model=f"llama-{m + 1}b", billions=m + 1, precision=precision, batch=batch, prompt=128 * 2**w, gpu=True
        )
        if not (precision == "fp32" and batch == max(batches) and m == models - 1)
        else failed(model=f"llama-{m + 1}b", precision=precision, batch=batch, prompt=128 * 2**w)
        for m in range(models)
        for w in range(workloads)
        for precision in _GB
        for batch in batches
    ]


def cpu_sweep() -> list[AggregatedResult]:
    """A sweep like the quick start's: two small models in two precisions on a CPU, without energy."""
    rng = random.Random(1)
    return [
        measured(rng, model=name, billions=0.0001 * (m + 1), precision=precision, batch=batch, prompt=16, gpu=False)
        for m, name in enumerate(("tiny-llama", "tiny-gpt2"))
        for precision in ("fp32", "bf16")
        for batch in (1, 4)
    ]


def settings(*, model: str, precision: str, batch: int, prompt: int) -> CellSettings:
    """A cell's settings; those that are not given have their defaults."""
    return CellSettings(
        cell_id=digest([model, precision, batch, prompt]), model=model, precision=precision, batch_size=batch,
        input_tokens=prompt, output_tokens=32, attention="sdpa", device_asked="auto", processes=1, tensor_parallel=1,
        settings="{}",
    )  # fmt: skip


SWEEP = SweepInfo(
    sweep="nightly precisions", sweep_hash="0f3a9c52d1e84b77", git_commit="4be1c02", ray_version="2.60.0",
    driver_host="head-0", started_unix_s=1_790_000_000.0,
)  # fmt: skip


def failed(*, model: str, precision: str, batch: int, prompt: int = 128, message: str = "") -> AggregatedResult:
    """The row of a cell that ran out of memory, with `message` as its error."""
    return AggregatedResult(
        cell=settings(model=model, precision=precision, batch=batch, prompt=prompt), status="oom",
        error_type="OutOfMemoryError", error_message=message or "CUDA out of memory.\nTried to allocate 24.00 GiB",
        repeats_asked=5, repeats_ok=0, attempts=2, sweep=SWEEP,
    )  # fmt: skip


def measured(
    rng: random.Random, *, model: str, billions: float, precision: str, batch: int, prompt: int, gpu: bool
) -> AggregatedResult:
    """A plausible row: memory-bound decoding, 2 % noise, five repeats. `prompt` is in tokens."""
    noise = lambda share=0.02: 1 + rng.gauss(0, share)  # noqa: E731
    step_s = (billions * 0.006 / _SPEED[precision] + 0.0003 * batch**0.6 * prompt / 128) * noise()
    rate = batch / step_s
    grade = _GRADES[int(billions) % 3] if gpu else "high"
    flops = 2e9 * billions * batch * (prompt + 31)
    window_s, generated = 20.0, int(20 * rate)
    watts = 300.0 * (0.6 + 0.4 * min(batch, 64) / 64) * {"int4-bnb": 0.6, "fp16": 0.98}.get(precision, 1.0)
    joules = watts / rate * noise() if gpu else None
    peak = billions * 1000 * _GB[precision] + batch * prompt * 0.9
    return AggregatedResult(
        cell=settings(model=model, precision=precision, batch=batch, prompt=prompt), status="ok",
        repeats_asked=5, repeats_ok=5, attempts=5, load_s=4.0,
        compute_metrics=ComputeMetrics(
            flops=FlopsResult(value=flops, method=_METHODS[grade], confidence=grade, precision="bf16"),
            estimates=FlopsEstimates(
                calflops=flops if grade == "high" else None, architecture=flops * 1.002,
                parameter_estimate=flops * 0.87, dispatcher=flops,
                failures={} if grade == "high" else {"calflops": "its module count left attention out"},
            ),
            flops_per_token=flops / batch / 32, flops_per_second=flops / (32 * step_s), mfu=0.2 if gpu else None,
            peak_source="NVIDIA data sheet" if gpu else "no peak is known for this processor",
            peak_memory_mb=peak, model_memory_mb=billions * 1000 * _GB[precision],
            memory_method="cuda_allocator" if gpu else "process_rss",
        ),
        inference_metrics=InferenceMetrics(
            generations=5, requests=5 * batch, prompt_tokens=5 * batch * prompt, generated_tokens=generated,
            window_s=window_s, output_tokens_per_s=rate, ttft=_distribution(step_s * 2), itl=_distribution(step_s),
            tpot=_distribution(step_s * 1.02), e2e=_distribution(step_s * 34), time_uncertainty=0.01,
            timing_method="cuda_events" if gpu else "perf_counter",
        ),
        energy_metrics=EnergyMetrics(
            gpu_energy_j=None if joules is None else joules * generated,
            energy_method="nvml_counter" if gpu else "none",
            energy_confidence=_GRADES[(len(precision) + batch.bit_length()) % 3] if gpu else None,
            energy_reasons=() if gpu else ("no_gpu",),
        ),
        energy_per_output_token_j=joules,
        energy_per_output_token_uncertainty_j=None if joules is None else joules * 0.03,
        precision_metadata=PrecisionMetadata(weights="bf16", activations="bf16", compute="bf16"),
        statistics=Statistics(
            output_tokens_per_s_over_repeats=repeated(rate), ttft_s_over_repeats=repeated(step_s * 2),
            tpot_s_over_repeats=repeated(step_s * 1.02), e2e_s_over_repeats=repeated(step_s * 34),
            energy_per_output_token_j_over_repeats=Spread() if joules is None else repeated(joules),
            peak_memory_mb_over_repeats=spread([peak] * 5),
        ),
        environment=Environment(
            host="gpu-3" if gpu else "laptop", device="cuda" if gpu else "cpu",
            gpu_names=("NVIDIA H100 80GB HBM3",) if gpu else (), gpu_uuids=("GPU-1",) if gpu else (),
            driver_version="570.86" if gpu else None, cuda_version="13.0" if gpu else None, cpu_name="AMD EPYC 9654",
            cpu_threads=2, memory_total_mb=81559.0, platform="Linux x86_64", python_version="3.12.3",
            torch_version="2.13.0", transformers_version="5.23.0", joulegrid_version="0.1.0",
        ),
        sweep=SWEEP,
    )  # fmt: skip


def noisy(result: AggregatedResult, share: float, repeats: int = 5) -> AggregatedResult:
    """The same values with the intervals that `repeated` gives for `share`."""
    spreads = {name: repeated(one.mean, share, repeats) for name, one in result.statistics if one.mean is not None}
    return result.model_copy(update={"statistics": Statistics(**spreads)})


def write(results: list[AggregatedResult], folder: Path) -> Path:
    """Write `results.parquet` like a sweep does, and return its folder."""
    pq.write_table(table(AggregatedResult, results), folder / "results.parquet")
    return folder


def _distribution(mean: float) -> Distribution:
    return Distribution(mean_s=mean, p50_s=mean * 0.98, p90_s=mean * 1.1, p99_s=mean * 1.45)


def repeated(mean: float, share: float = 0.02, repeats: int = 5) -> Spread:
    """Repeats with the geometric mean `mean` and the interval from `mean / (1 + share)` to `mean * (1 + share)`."""
    if repeats < 2:
        return spread([mean])
    wide = spread([1 / math.e, *[1.0] * (repeats - 2), math.e])
    power = math.log1p(share) / math.log(wide.ci95_high)
    return spread([mean * math.exp(-power), *[mean] * (repeats - 2), mean * math.exp(power)])
