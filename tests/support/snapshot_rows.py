"""Rows of simulated snapshots, as a sweep writes them."""

import json
from typing import Any

import numpy as np

from orchestrator.aggregate.spread import spread
from orchestrator.results.rows import AggregatedResult, CellSettings, Statistics, SweepInfo
from workers.records import (
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    FlopsResult,
    InferenceMetrics,
    QualityMetrics,
)

LEVELS = {
    "output_tokens_per_s": 1000.0,
    "ttft_s": 0.05,
    "tpot_s": 0.02,
    "e2e_s": 0.7,
    "energy_per_output_token_j": 0.3,
    "peak_memory_mb": 4000.0,
}
DAY_S = 86400.0


def row(
    index: int,
    values: dict[str, list[float]],
    *,
    started_unix_s: float = DAY_S,
    apart_s: float = 100.0,
    **differs: Any,
) -> AggregatedResult:
    """Cell number `index`, with the `values` of its repeats by figure; `differs` sets fields of the records below."""
    repeats = max((len(v) for v in values.values()), default=0)

    def fields(**defaults: Any) -> dict[str, Any]:
        return {name: differs.get(name, default) for name, default in defaults.items()}

    settings = {"batch_size": index + 1, "model": {"name": "tiny", "source": "tiny"}}
    environment = fields(
        host="node-1", device="cuda", gpu_names=("NVIDIA H100",), gpu_uuids=("GPU-1",), driver_version="570.1",
        cpu_name="EPYC", cpu_threads=8, platform="linux", python_version="3.12", torch_version="2.13.0",
        transformers_version="5.23.0", joulegrid_version="0.1.0",
    )  # fmt: skip
    inference = fields(timing_method="cuda_events")
    return AggregatedResult(
        cell=CellSettings(
            cell_id=f"{index:016x}", model="tiny", precision="bf16", batch_size=index + 1, input_tokens=128,
            output_tokens=32, attention="sdpa", device_asked="auto", processes=1, tensor_parallel=1,
            settings=json.dumps(settings),
        ),
        **fields(status="ok", error_type=None, error_message=None, mixed=()),
        repeats_asked=5,
        repeats_ok=repeats,
        repeat_started_unix_s=tuple(started_unix_s + apart_s * repeat for repeat in range(repeats)),
        attempts=5,
        compute_metrics=ComputeMetrics(
            flops=FlopsResult(
                value=differs.get("flops_value", 1e12), precision="bf16",
                method=differs.get("flops_method", "architecture"),
                confidence=differs.get("flops_confidence", "high"),
            ),
            **fields(memory_method="cuda_allocator"),
        ),
        inference_metrics=InferenceMetrics(
            generations=3, requests=3, prompt_tokens=384, generated_tokens=96, window_s=1.0, output_tokens_per_s=96.0,
            **inference,
        ),
        energy_metrics=EnergyMetrics(
            **fields(energy_method="nvml_counter", energy_confidence="high", energy_reasons=())
        ),
        quality=QualityMetrics(**fields(perplexity=None)),
        statistics=Statistics(**{f"{figure}_over_repeats": spread(repeated) for figure, repeated in values.items()}),
        environment=Environment(**environment),
        sweep=SweepInfo(
            sweep="nightly", sweep_hash="0", ray_version="2.60", driver_host="head", started_unix_s=started_unix_s,
            **fields(git_commit="abc1234"),
        ),
    )  # fmt: skip


def noisy(
    rng: np.random.Generator, *, repeats: int = 5, noise: float = 0.02, **factors: float
) -> dict[str, list[float]]:
    """The repeats of one cell: the level of each figure times its factor, with log-normal noise."""
    return {
        figure: [float(level * factors.get(figure, 1.0) * np.exp(noise * z)) for z in rng.normal(size=repeats)]
        for figure, level in LEVELS.items()
    }
