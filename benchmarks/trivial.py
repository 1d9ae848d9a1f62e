"""What the benchmarks of the driver share: a sweep of trivial runs, and a measurer that makes up their figures.

The runs go through the program's own flow: plan, schedule, journal, tables. Only the model is missing.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from rich.console import Console

from orchestrator import config
from orchestrator import sweep as flow
from orchestrator.config import SweepConfig
from workers.prepare import Prepared
from workers.records import (
    ComputeMetrics,
    EnergyMetrics,
    Environment,
    InferenceCost,
    InferenceMetrics,
    ModelSpec,
    PrecisionMetadata,
    RawProcessResult,
    Run,
    Shape,
    WarmupDone,
)

MODELS = 10
BATCHES = 10


class Trivial:
    """Answers at once, with a result as long as a real one's."""

    def measure(
        self,
        run: Run,
        *,
        cost: InferenceCost | None,
        cost_reason: str | None,
        texts: Mapping[str, Sequence[str]],
        rank: int,
        barrier: Callable[[], None] | None,
        prior_runs: int,
    ) -> RawProcessResult:
        """Make up a result of 3 generations."""
        del cost, texts
        if barrier:
            barrier()
        tokens, began_unix_s = 3 * run.cell.batch_size * run.cell.output_tokens, time.time()
        return RawProcessResult(
            cell_id=run.cell.cell_id,
            repeat=run.repeat,
            rank=rank,
            pid=1,
            prior_runs=prior_runs,
            model_reused=prior_runs > 0,
            load_s=0.0,
            window_start_unix_s=began_unix_s,
            window_end_unix_s=began_unix_s + 1e-3,
            measured_batch_size=run.cell.batch_size,
            warmup=WarmupDone(generations=1, duration_s=0.0),
            inference_metrics=InferenceMetrics(
                generations=3,
                requests=3 * run.cell.batch_size,
                prompt_tokens=tokens,
                generated_tokens=tokens,
                window_s=1e-3,
                output_tokens_per_s=tokens / 1e-3,
                ttft_s=(1e-4,) * 3,
                itl_s=((1e-4,) * 31,) * 3,
                e2e_s=(1e-3,) * 3,
            ),
            energy_metrics=EnergyMetrics(energy_method="none", energy_reasons=("no_gpu",)),
            compute_metrics=ComputeMetrics(flops_reason=cost_reason),
            precision_metadata=PrecisionMetadata(weights="bf16", activations="bf16", compute="bf16"),
            environment=Environment(
                host="trivial",
                device="cpu",
                platform="trivial",
                python_version="3",
                torch_version="none",
                transformers_version="none",
                joulegrid_version="none",
            ),
        )

    def changes(self) -> tuple[str, ...]:
        """Nothing is changed."""
        return ()


def count_nothing(_: ModelSpec, __: dict[str, object], ___: Sequence[Shape]) -> Prepared:
    """In place of FLOPs."""
    return Prepared(reason="trivial")


def sweep(cells: int, out: Path) -> SweepConfig:
    """A sweep of this many cells (a multiple of 100) over 10 models, each run on a simulated GPU."""
    return config.from_mapping(
        {
            "name": "trivial",
            "models": [
                {"name": f"m{index}", "config": {"model_type": "llama", "vocab_size": index}} for index in range(MODELS)
            ],
            "precisions": "bf16",
            "axes": {
                "batch_size": list(range(1, BATCHES + 1)),
                "input_tokens": list(range(1, cells // (MODELS * BATCHES) + 1)),
            },
            "device": "cpu",
            "placement": {"gpus_per_process": 1},
            "out": str(out),
        }
    )


def start_ray(gpus: int = 8) -> None:
    """A Ray of our own with simulated GPUs."""
    ray.init(
        address="local",
        num_cpus=gpus,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="error",
    )


def run(cells: int, folder: Path) -> tuple[float, float]:
    """Run that many trivial cells; returns the time from the first to the last, and of all that came after. Unit: s."""
    finished = flow.run(
        sweep(cells, folder / "out"),
        folder=folder,
        console=Console(file=io.StringIO()),
        make=Trivial,
        estimate=count_nothing,
    )
    ended = time.time()
    assert finished.ok == cells, f"{finished.ok} of {cells} cells ok"
    made = pq.read_table(folder / "out" / "raw.parquet")["window_start_unix_s"]
    first, last = pc.min(made).as_py(), pc.max(made).as_py()
    return last - first, ended - last
